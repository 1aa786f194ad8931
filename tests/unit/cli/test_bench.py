"""``rerank-plugins bench``: sizes in turns, and the table."""

import json

import pytest
from click.testing import CliRunner

from rerank_plugins import InputError, Reranker, Usage
from rerank_plugins.cli._bench import Timing, bench, timing_table, timings
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle


class Counting:
    """A backend that notes the sizes of its batches."""

    kinds = Oracle.kinds

    def __init__(self):
        self.sizes, self.inner = [], Oracle()

    def run(self, calls):
        self.sizes.append(len(calls))
        return self.inner.run(calls)


def test_sizes_take_turns_after_an_untimed_ranking():
    backend, told = Counting(), []
    found = timings(
        Reranker(PairScore(), backend), [2, 5], words=3, repeat=3, tell=lambda n: told.append(n)
    )
    assert backend.sizes == [2, *[2, 5] * 3]
    assert told == [1] * 6
    assert [(t.passages, t.usage.calls) for t in found] == [(2, 2), (5, 5)]
    assert all(0 < t.low <= t.median <= t.high for t in found)


def test_the_table():
    usage = Usage(calls=4, prompt_tokens=90, generated_tokens=10)
    shown = timing_table([Timing(20, 0.5, 0.25, 1.0, usage), Timing(2, 0.5, 0.5, 0.5, Usage())])
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["20", "0.5000", "0.2500-1.0000", "4", "125000", "200"],
        ["2", "0.5000", "0.5000-0.5000", "0", "0"],
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--passages", "1,5"], "--passages is 1, expected at least 2"),
        (["--passages", "5,x"], "--passages is '5,x', expected numbers like 10,100"),
        (["--words", "0"], "--words is 0, expected at least 1"),
        (["--repeat", "0"], "--repeat is 0, expected at least 1"),
    ],
)
def test_numbers_out_of_range(arguments, says):
    found = CliRunner().invoke(bench, arguments)
    assert isinstance(found.exception, InputError)
    assert says in str(found.exception)


def test_the_engine_alone():
    found = CliRunner().invoke(bench, ["--passages", "2,3", "--repeat", "1", "--json"])
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert [t["passages"] for t in said["timings"]] == [2, 3]
    assert "cores" in said["machine"]
