"""Transcripts are written, read and replayed."""

import asyncio
import json

import pytest

from rerank_plugins import BackendError, ContractError, InputError, Reranker
from rerank_plugins.calls import ScorePair
from rerank_plugins.middleware import recorded
from rerank_plugins.strategies import Permutation, QueryLikelihood, SingleToken, SlidingWindow
from rerank_plugins.testing import Failing, Oracle, Replay

A, B = ScorePair("q", "a"), ScorePair("q", "b")


TEXTS = [f"passage {i}" for i in range(25)]


def both_colours(backend, calls):
    """The replies of run and of arun, which must be equal for equal backends."""
    return backend().run(calls), asyncio.run(backend().arun(calls))


@pytest.mark.parametrize(
    "strategy", [SlidingWindow(inner=SingleToken()), Permutation(), QueryLikelihood()]
)
def test_a_transcript_replays(tmp_path, strategy):
    file = tmp_path / "run.jsonl"
    texts = [*TEXTS[:-1], "lone surrogate \ud800 and \u2028"]
    expected = Reranker(strategy, recorded(Oracle(), file)).rank("q", texts)
    replayed = Reranker(strategy, Replay(file)).rank("q", texts)
    assert (replayed.order, replayed.scores) == (expected.order, expected.scores)
    assert replayed.usage.prompt_tokens == expected.usage.prompt_tokens
    with pytest.raises(ContractError, match=r"no \(further\) answer"):
        Reranker(strategy, Replay(file)).rank("another query", texts)


def test_a_transcript_keeps_failures_and_both_colours_write(tmp_path):
    file = tmp_path / "run.jsonl"
    calls = [A, B]
    backend = recorded(Failing(when=lambda call: call == B), file)
    first = backend.run(calls)
    asyncio.run(backend.arun(calls))
    assert len(file.read_text().splitlines()) == 4
    replay = Replay(file)
    for replies in (replay.run(calls), asyncio.run(replay.arun(calls))):
        assert replies[0] == first[0]
        assert isinstance(replies[1], BackendError)


def test_a_file_that_is_no_transcript_is_refused(tmp_path):
    file = tmp_path / "run.jsonl"
    file.write_text(json.dumps({"call": {"kind": "Poem"}}) + "\n")
    with pytest.raises(InputError, match="line 1"):
        Replay(file)


def test_a_transcript_that_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        Replay(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="cannot write"):
        recorded(Oracle(), tmp_path / "no" / "folder.jsonl")
