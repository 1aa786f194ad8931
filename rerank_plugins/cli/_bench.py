"""``rerank-plugins bench``: how long a reranker takes here, by the number of passages."""

import platform
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError
from ..ranking import Usage
from ..reranker import Reranker
from ._printing import as_json, progress, table
from ._specs import named_reranker

TEXT = "a flea lives for some weeks while cats sleep and wolves hunt in packs"


@dataclass(frozen=True, slots=True)
class Timing:
    """One size.

    Attributes:
        passages: How many were ranked.
        median: Seconds of a ranking.
        low: The fastest.
        high: The slowest.
        usage: What one ranking cost.
    """

    passages: int
    median: float
    low: float
    high: float
    usage: Usage


def command() -> Any:
    """``rerank-plugins bench``."""
    import click

    @click.command()
    @click.option("--reranker", help="A checkpoint, or a spec file.  [default: none: the engine]")
    @click.option("--passages", default="10,20,50,100", show_default=True, help="Sizes.")
    @click.option("--words", default=60, show_default=True, help="Words of a passage.")
    @click.option("--repeat", default=5, show_default=True, help="Rankings of each size.")
    @click.option("--json", "machine", is_flag=True, help="The table as JSON.")
    def bench(reranker: str | None, passages: str, words: int, repeat: int, machine: bool) -> None:
        """Time a reranker on this machine.

        Sizes take turns, so that a busy moment meets all of them. Without --reranker the model
        answers at once, and what is timed is this library: FIRST in windows of 20, a call each.
        """
        sizes = _sizes(passages)
        if words < 1 or repeat < 1:
            raise InputError("--words and --repeat are at least 1")
        loaded = named_reranker(reranker) if reranker else _engine()
        with progress("timed", len(sizes) * repeat) as tell:
            found = timings(loaded, sizes, words=words, repeat=repeat, tell=tell)
        if machine:
            click.echo(as_json({"machine": machine_note(), "timings": [asdict(t) for t in found]}))
        else:
            click.echo(shown(found))

    return bench


def timings(
    reranker: Reranker, sizes: Sequence[int], *, words: int, repeat: int, tell: Any
) -> list[Timing]:
    """Time rankings of synthetic passages, the sizes in turns."""
    source = random.Random(0)  # noqa: S311 - texts, not secrets
    texts = [" ".join(source.choices(TEXT.split(), k=words)) + f" {i}" for i in range(max(sizes))]
    reranker.rank("how long does a flea live", texts[: sizes[0]])  # loads and warms up
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    usage: dict[int, Usage] = {}
    for turn in range(repeat):
        for size in sizes:
            began = time.perf_counter()
            ranking = reranker.rank(f"how long does flea {turn} live", texts[:size])
            seconds[size].append(time.perf_counter() - began)
            usage[size] = ranking.usage
            tell(1)
    return [
        Timing(size, statistics.median(took), min(took), max(took), usage[size])
        for size, took in seconds.items()
    ]


def machine_note() -> str:
    """What the times are worth."""
    import os

    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def shown(found: Sequence[Timing]) -> str:
    """The table."""
    rows = [
        [
            str(t.passages),
            f"{t.median:.4f}",
            f"{t.low:.4f}-{t.high:.4f}",
            str(t.usage.calls),
            f"{1e6 * t.median / t.usage.calls:.0f}" if t.usage.calls else "",
            f"{(t.usage.prompt_tokens + t.usage.generated_tokens) / t.median:.0f}",
        ]
        for t in found
    ]
    header = ["passages", "median s", "range", "calls", "µs/call", "tokens/s"]
    return f"{machine_note()}\n{table(header, rows)}"


def _engine() -> Reranker:
    return Reranker({"name": "sliding-window", "inner": "single-token"}, "constant")


def _sizes(given: str) -> list[int]:
    try:
        sizes = [int(part) for part in given.split(",")]
    except ValueError as error:
        raise InputError(f"--passages is {given!r}, expected numbers like 10,100") from error
    if min(sizes) < 2:
        raise InputError("--passages are at least 2")
    return sizes
