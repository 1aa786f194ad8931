"""Jobs that take turns within one run, and what the ratios of their times are."""

import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from inputs import Row

from rerank_plugins import Ranking
from rerank_plugins.evaluation import interval

Rank = Callable[[str, list[str]], Ranking]


def taking_turns(jobs: Mapping[str, Rank], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every job ranks every query; who is first changes from query to query.

    Times are the process's share of the processor, of one thread: other work is not in them.

    A few passages are ranked beforehand, which is not counted.

    Returns:
        A line for each job: its median, the ratio to the first job query by query (median and
        range), and what the last query cost.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    usage = {}
    source = random.Random(0)
    for rank in jobs.values():
        rank(rows[0][1], rows[0][2][:4])
    for _, query, texts in rows:
        for name in source.sample(list(jobs), len(jobs)):
            began = time.process_time()
            ranking = jobs[name](query, texts)
            seconds[name].append(time.process_time() - began)
            usage[name] = asdict(ranking.usage)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    base = next(iter(seconds.values()))
    return [
        {"name": name, "usage": usage[name]} | spread(took, base) for name, took in seconds.items()
    ]


def spread(seconds: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """The median of times, and of their ratios to the base's, query by query, with the range."""
    each = [a / b for a, b in zip(seconds, base, strict=True)]
    return {
        "median_s": statistics.median(seconds),
        "ratio": statistics.median(each),
        "ratio_low": min(each),
        "ratio_high": max(each),
    }


def with_interval(seconds: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """The mean of the ratios to the base's times, query by query, and its 95 % interval."""
    each = [a / b for a, b in zip(seconds, base, strict=True)]
    return statistics.mean(each), *interval(each)
