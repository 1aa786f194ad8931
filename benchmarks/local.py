"""Real models in this process: what is outside them, one token against many, schedules."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from inputs import inputs, random_cross_encoder, smollm2
from turns import taking_turns

from rerank_plugins import Reranker
from rerank_plugins.backends import CrossEncoderBackend, TransformersBackend
from rerank_plugins.prompts import ListwisePrompt, require
from rerank_plugins.strategies import (
    AcuRank,
    BlitzRank,
    FullList,
    JointRank,
    PairScore,
    Permutation,
    QueryLikelihood,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
)

WORDS = 15  # of a passage, where schedules are compared
PERMUTATION = 79  # tokens of a permutation of 20 letters: what RankLLM generates


class Stopwatch:
    """A backend, and the seconds spent in it."""

    def __init__(self, backend):
        self.inner, self.seconds, self.kinds = backend, 0.0, backend.kinds

    def run(self, calls):
        began = time.process_time()
        replies = self.inner.run(calls)
        self.seconds += time.process_time() - began
        return replies


def overhead(given) -> dict:
    """Measure the share of a ranking's time outside the backend, with the smallest real models."""
    rows = []
    found = inputs(given.data, given.queries, 20)
    with tempfile.TemporaryDirectory() as folder:
        pairs = CrossEncoderBackend(random_cross_encoder(Path(folder)), max_tokens=256)
        model = TransformersBackend(smollm2())
        for name, strategy, backend in (
            ("cross-encoder pairs, MiniLM (22.7 M)", PairScore(), pairs),
            ("query likelihood, SmolLM2 (135 M)", QueryLikelihood(), model),
            ("FIRST, SmolLM2 (135 M)", SingleToken(), model),
        ):
            watch = Stopwatch(backend)
            reranker = Reranker(strategy, watch)
            reranker.rank(*found.rows[0][1:])  # loads and warms up
            outside = []
            for _, query, texts in found.rows:
                watch.seconds, began = 0.0, time.process_time()
                usage = reranker.rank(query, texts).usage
                seconds = time.process_time() - began
                outside.append({"seconds": seconds, "outside": seconds - watch.seconds})
            rows.append({"name": name, "calls": usage.calls, "queries": outside})
    return {"rows": rows, "texts": found.name}


def first(given) -> dict:
    """One window of 20: FIRST against writing the permutation, same model and prompt."""
    found = inputs(given.data, given.queries, 20)
    backend = TransformersBackend(smollm2())
    strategies = {
        "FIRST": SingleToken(prompt="rankllm-letters.v1"),
        "the permutation, written": Permutation(
            prompt="rankllm-letters.v1", max_tokens=PERMUTATION
        ),
    }
    jobs = {name: Reranker(strategy, backend).rank for name, strategy in strategies.items()}
    return {"rows": taking_turns(jobs, found.rows), "texts": found.name}


def schedules(given) -> dict:
    """100 passages by every schedule of the same windows, and in one piece."""
    found = inputs(given.data, given.queries, 100)
    backend = TransformersBackend(smollm2())

    def short(name):
        return replace(require(name, ListwisePrompt), max_passage_words=WORDS)

    window = SingleToken(prompt=short("first.v1"))
    strategies = {
        "SlidingWindow": SlidingWindow(window),
        "TopDown": TopDown(window),
        "Tournament": Tournament(window),
        "JointRank": JointRank(window),
        "BlitzRank": BlitzRank(window),
        "AcuRank": AcuRank(window),
        "FullList, one token": FullList(prompt=short("full-list-tokens.v1"), read="single-token"),
    }
    jobs = {name: Reranker(strategy, backend).rank for name, strategy in strategies.items()}
    return {
        "rows": taking_turns(jobs, found.rows),
        "texts": f"{found.name}, {WORDS} words of each",
    }
