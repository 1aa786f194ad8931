"""How commands speak: progress on terminals, tables for people, JSON for machines."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..jobs._rank_file import Progress

FELL_BACK = 3
"""The exit code of a command that finished, although some orders are the input's."""


@contextmanager
def progress(label: str, length: int | None = None) -> Iterator[Progress]:
    """Something that is told of finished queries: a bar, where standard error is a terminal."""
    import click

    if not sys.stderr.isatty():
        yield lambda _: None
    elif length is None:
        done = 0

        def count(n: int) -> None:
            nonlocal done
            done += n
            click.echo(f"\r{label}: {done}", nl=False, err=True)

        yield count
        click.echo(err=True)
    else:
        with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
            yield bar.update


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first flush left, the others right.

    Examples:
        >>> print(table(["name", "nDCG@10"], [["bm25", "0.5058"]]))
        name  nDCG@10
        bm25   0.5058
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )
    return "\n".join(lines)


def as_json(value: object) -> str:
    """JSON for machines; what is no number there is null."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    return value
