"""``rerank-plugins export``: weights for onnxruntime, which need no torch."""

from typing import get_args

import click

from ..presets import Precision, export_model
from ._arguments import json_option
from ._terminal import to_json


@click.command()
@click.argument("model")
@click.argument("output")
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="int8: a quarter of the space, about half of the time, scores that are rounded.",
)
@click.option("--revision", help="The hub revision.")
@json_option("Print the facts as JSON.")
def export(
    model: str, output: str, precision: Precision, revision: str | None, as_json: bool
) -> None:
    """Export a cross-encoder or an encoder into the folder OUTPUT.

    MODEL is a checkpoint, a folder or a hub id. What is exported runs without torch, with
    load_reranker(OUTPUT). It is checked against torch before OUTPUT is made.
    """
    made = export_model(model, output, precision=precision, revision=revision)
    size = sum(path.stat().st_size for path in made.folder.iterdir())
    if as_json:
        facts = {"folder": str(made.folder), "kind": made.kind, "precision": precision}
        click.echo(to_json({**facts, "bytes": size, "distance": made.distance}))
        return
    click.echo(
        f"{made.folder}: {made.kind}, {precision}, {size / 1e6:.1f} MB; {made.distance:.2%} of the "
        "spread away from torch's numbers"
    )
