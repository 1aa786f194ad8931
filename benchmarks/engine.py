"""The cost of this library without a model: time by calls, candidates, words, queries; memory.

Times are of the processor, not of the clock: other work on the machine is not in them.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from rerank_plugins import Ranking, Reranker
from rerank_plugins.calls import Message, NextToken, Prompt
from rerank_plugins.plans import ask
from rerank_plugins.prompts import LikelihoodPrompt, ListwisePrompt, PointwisePrompt
from rerank_plugins.strategies import (
    FullList,
    PairScore,
    Permutation,
    Pointwise,
    QueryLikelihood,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.testing import Constant

REPEAT = 7


def median_s(work) -> float:
    work()
    took = []
    for _ in range(REPEAT):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return statistics.median(took)


def texts(n: int, words: int = 60) -> list[str]:
    return [f"passage {i} " + "a flea lives for weeks " * (words // 5) for i in range(n)]


class Bare:
    """Asks ten questions, one after the other, with a prompt that is there already."""

    CALL = NextToken(Prompt((Message("user", ("?",)),)), ("A", "B"))

    def rank(self, query, passages):
        for _ in range(10):
            yield from ask([self.CALL])
        return Ranking(tuple(range(len(passages))))


@contextmanager
def prompts_timed():
    """Yields a list that gets the seconds of every prompt that is made."""
    seconds = []
    kinds = (ListwisePrompt, PointwisePrompt, LikelihoodPrompt)
    renders = [kind.render for kind in kinds]

    def watched(render):
        def timed(*arguments, **options):
            began = time.process_time()
            try:
                return render(*arguments, **options)
            finally:
                seconds.append(time.process_time() - began)

        return timed

    for kind, render in zip(kinds, renders, strict=True):
        kind.render = watched(render)
    try:
        yield seconds
    finally:
        for kind, render in zip(kinds, renders, strict=True):
            kind.render = render


def per_call() -> list[dict]:
    """Microseconds of a call: to make its prompt, and all the rest."""
    strategies = {
        "ten bare calls, one after the other": Bare(),
        "cross-encoder pairs": PairScore(),
        "pointwise yes/no": Pointwise(prompt="yes-no.v1"),
        "query likelihood": QueryLikelihood(),
        "FIRST, windows of 20": SlidingWindow(SingleToken()),
        "listwise, windows of 20": SlidingWindow(Permutation()),
        "full list of 100": FullList(),
    }
    rows = []
    for name, strategy in strategies.items():
        reranker = Reranker(strategy, Constant())
        passages = texts(100)
        calls = reranker.rank("fleas", passages).usage.calls
        whole, prompts = [], []
        with prompts_timed() as seconds:
            for _ in range(50):
                seconds.clear()
                began = time.process_time()
                reranker.rank("fleas", passages)
                whole.append(time.process_time() - began)
                prompts.append(sum(seconds))
        rest = [a - b for a, b in zip(whole, prompts, strict=True)]
        rows.append(
            {
                "strategy": name,
                "calls": calls,
                "prompt_us": 1e6 * statistics.median(prompts) / calls,
                "rest_us": 1e6 * statistics.median(rest) / calls,
                "rest_us_low": 1e6 * min(rest) / calls,
            }
        )
    return rows


def growth() -> dict:
    """Seconds by candidates, by words of a passage, and by queries."""
    pairs, first = (
        Reranker(strategy, Constant()) for strategy in (PairScore(), SlidingWindow(SingleToken()))
    )
    sizes, lengths, counts = (10, 30, 100, 300, 1000), (20, 60, 200, 600), (1, 10, 100, 1000, 10000)
    return {
        "candidates": [
            [
                n,
                median_s(lambda n=n: pairs.rank("q", texts(n))),
                median_s(lambda n=n: first.rank("q", texts(n))),
            ]
            for n in sizes
        ],
        "words": [
            [
                w,
                median_s(lambda w=w: pairs.rank("q", texts(100, w))),
                median_s(lambda w=w: first.rank("q", texts(100, w))),
            ]
            for w in lengths
        ],
        "queries": [[n, many(n)] for n in counts],
    }


def many(n: int) -> float:
    """n queries of 100 passages, one after the other."""
    reranker, passages = Reranker(PairScore(), Constant()), texts(100)
    began = time.process_time()
    for i in range(n):
        reranker.rank(f"query {i}", passages)
    return time.process_time() - began


def memory() -> dict:
    """Peak memory of `rerank-plugins rank` over 1,000 and 10,000 queries of 100 passages."""
    code = (
        "import atexit, re, sys\n"
        "from pathlib import Path\n"
        "from rerank_plugins.cli import main\n"
        "status = lambda: Path('/proc/self/status').read_text()\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status())[1]) // 1024\n"
        "atexit.register(lambda: print(peak(), file=sys.stderr))\n"
        "options = ['--format', 'trec', '--reranker', sys.argv[1]]\n"
        "sys.argv = ['rerank-plugins', 'rank', '-', '-', *options]\n"
        "main()"
    )
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.json"
        spec.write_text('{"strategy": "pair-score", "backend": "constant"}')
        return {str(n): _peak(code, spec, n) for n in (1000, 10000)}


def _peak(code: str, spec, n: int) -> int:
    passages = json.dumps(texts(100))
    with subprocess.Popen(
        [sys.executable, "-c", code, spec],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for i in range(n):
            process.stdin.write(f'{{"query_id": {i}, "query": "q", "passages": {passages}}}\n')
        process.stdin.close()
        return int(process.stderr.read().splitlines()[-1])


def engine_section() -> dict:
    return {"per_call": per_call(), "growth": growth(), "memory_mb": memory()}


if __name__ == "__main__":
    print(json.dumps(engine_section(), indent=1))
