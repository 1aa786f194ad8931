"""``rerank-plugins prepare``: the token vectors of a collection, for late interaction."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from .._files import rows_of
from ..errors import InputError
from ..evaluation import load_collection
from ..text import Passage
from ._arguments import json_option, named_reranker, reranker_option
from ._terminal import to_json

_LINES = (".jsonl", ".jsonl.gz")


@click.command()
@click.argument("collection")
@click.argument("output", type=click.Path(dir_okay=False))
@reranker_option
@json_option("Print the counts as JSON.")
def prepare(collection: str, output: str, reranker: str, as_json: bool) -> None:
    """Encode the passages of COLLECTION into the file OUTPUT.

    COLLECTION is a BEIR folder, a collection of ir_datasets (irds:NAME), or a .jsonl file with
    text and perhaps title in each line. The reranker scores by late interaction. Give OUTPUT to
    its backend as ``prepared``, for example in a spec: passages in it are not encoded again.
    """
    if Path(collection).resolve() == Path(output).resolve():
        raise InputError(
            f"OUTPUT is {output!r}, the collection itself", hint="Give another file name."
        )
    loaded = named_reranker(reranker)
    start = time.perf_counter()
    found = loaded.prepare(passages_of(collection), output)
    seconds = time.perf_counter() - start
    if as_json:
        numbers = {"passages": len(found), "seconds": seconds, "bytes": found.nbytes}
        click.echo(to_json(numbers))
        return
    size = f"{found.nbytes / 2**20:.1f} MiB, {found.nbytes / max(len(found), 1):,.0f} bytes each"
    click.echo(f"{len(found)} passages in {seconds:.0f} s: {size}")


def passages_of(collection: str) -> Iterable[str]:
    """The passages of a collection, or of a file of them.

    Raises:
        InputError: It is neither, or damaged.
    """
    if not collection.endswith(_LINES):
        return load_collection(collection, split=None).documents.values()
    return _lines(Path(collection))


def _lines(path: Path) -> Iterator[Passage]:
    for number, row in rows_of(path):
        text, title = row.get("text"), row.get("title") or ""
        if not isinstance(text, str) or not isinstance(title, str):
            raise InputError(f"line {number} of {path} has no text, or a title that is not one")
        yield Passage(text, title=title)
