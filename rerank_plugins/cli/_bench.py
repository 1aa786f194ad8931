"""``rerank-plugins bench``: the time that a reranker takes on this machine."""

import os
import platform
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from .._checks import at_least
from .._loading import watch_loading
from ..errors import InputError
from ..jobs import Progress
from ..ranking import Usage
from ..reranker import Reranker
from ._arguments import instruction_option, json_option, named_reranker, reranker_option
from ._terminal import progress, table, to_json

TEXT = "a flea lives for some weeks while cats sleep and wolves hunt in packs"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that rankings of one size took.

    Attributes:
        passages: Passages of a ranking.
        median: Median of its seconds.
        low: The fastest.
        high: The slowest.
        usage: The cost of one ranking.
    """

    passages: int
    median: float
    low: float
    high: float
    usage: Usage


@click.command()
@reranker_option
@instruction_option
@click.option("--engine", is_flag=True, help="Time this library alone: the model answers at once.")
@click.option("--passages", default="10,20,50,100", show_default=True, help="Sizes.")
@click.option("--words", default=60, show_default=True, help="Words of a passage.")
@click.option("--repeat", default=5, show_default=True, help="Rankings of each size.")
@json_option("Print the table as JSON.")
def bench(
    reranker: str | None,
    instruction: str | None,
    engine: bool,
    passages: str,
    words: int,
    repeat: int,
    as_json: bool,
) -> None:
    """Time a reranker on this machine.

    Sizes take turns, so that other load on the machine affects all of them. With --engine only
    this library is timed: FIRST in windows of 20, a call each.
    """
    try:
        sizes = [int(part) for part in passages.split(",")]
    except ValueError as error:
        raise InputError(f"--passages is {passages!r}, expected numbers like 10,100") from error
    least: dict[str, Any] = {"--passages": min(sizes)}
    at_least(2, **least)
    options: dict[str, Any] = {"--words": words, "--repeat": repeat}
    at_least(1, **options)
    if engine and reranker:
        raise InputError("give either --reranker or --engine")
    if engine and instruction:
        raise InputError("--engine asks no model, so it takes no --instruction")
    told = {"instruction": instruction}
    timed = Reranker("first", "constant") if engine else named_reranker(reranker, **told)
    with progress("timed", len(sizes) * repeat) as tell, watch_loading() as watch:
        found = timings(timed, sizes, words=words, repeat=repeat, tell=tell)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if as_json:
        numbers = {"machine": machine, "loading_seconds": watch.seconds}
        click.echo(to_json({**numbers, "timings": [asdict(t) for t in found]}))
    else:
        click.echo(f"{machine}\n{timing_table(found)}")
        if watch.seconds:
            click.echo(f"loading the model took {watch.seconds:.1f} s")


def timings(
    reranker: Reranker, sizes: Sequence[int], *, words: int, repeat: int, tell: Progress
) -> list[Timing]:
    """Time rankings of synthetic passages, the sizes in turns.

    Args:
        reranker: The reranker; an untimed ranking loads its model first.
        sizes: Numbers of passages.
        words: Words of a passage.
        repeat: Rankings of each size.
        tell: Called with 1 after each ranking.
    """
    source = random.Random(0)  # noqa: S311 - texts, not secrets
    texts = [" ".join(source.choices(TEXT.split(), k=words)) + f" {i}" for i in range(max(sizes))]
    reranker.rank("how long does a flea live", texts[: sizes[0]])  # loads and warms up
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    usage: dict[int, Usage] = {}
    for turn in range(repeat):
        for size in sizes:
            start = time.perf_counter()
            ranking = reranker.rank(f"how long does flea {turn} live", texts[:size])
            took = time.perf_counter() - start
            seconds[size].append(took - ranking.usage.loading_seconds)
            usage[size] = ranking.usage
            tell(1)
    return [
        Timing(size, statistics.median(each), min(each), max(each), usage[size])
        for size, each in seconds.items()
    ]


def timing_table(timings: Sequence[Timing]) -> str:
    """One line for each size, with the time of a call and the tokens of a second."""
    rows = [
        [
            str(t.passages),
            f"{t.median:.4f}",
            f"{t.low:.4f}-{t.high:.4f}",
            str(t.usage.calls),
            f"{1e6 * t.median / t.usage.calls:.0f}" if t.usage.calls else "",
            f"{(t.usage.prompt_tokens + t.usage.generated_tokens) / t.median:.0f}",
        ]
        for t in timings
    ]
    return table(["passages", "median s", "range", "calls", "µs/call", "tokens/s"], rows)
