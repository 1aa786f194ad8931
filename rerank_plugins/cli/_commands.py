"""``rerank-plugins`` itself: the group of all commands."""

import click

from ._batch import batch
from ._bench import bench
from ._calibrate import calibrate
from ._compare import compare
from ._evaluate import evaluate
from ._explain import explain
from ._export import export
from ._feedback import feedback
from ._heads import heads
from ._judge import judge
from ._models import models
from ._prepare import prepare
from ._rank import rank
from ._serve import serve
from ._train import train
from ._tune import tune


@click.group(help="LLM reranking for retrieval-augmented generation.")
@click.version_option(package_name="rerank-plugins")
def commands() -> None:
    """Run a subcommand."""


for _command in (
    rank,
    evaluate,
    judge,
    compare,
    explain,
    tune,
    heads,
    calibrate,
    bench,
    models,
    prepare,
    export,
    feedback,
    batch,
    serve,
    train,
):
    commands.add_command(_command)
