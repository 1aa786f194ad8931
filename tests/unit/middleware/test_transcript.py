"""Transcripts are written, read and replayed."""

import asyncio
import copy
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import BackendError, ContractError, InputError, PromptTooLongError, Reranker
from rerank_plugins.calls import (
    Completion,
    ContinuationLogprob,
    Embed,
    Generate,
    Hit,
    Identifier,
    LabelLogprobs,
    Likelihood,
    Message,
    NextToken,
    Prompt,
    Reply,
    ScorePair,
    Search,
    Untrusted,
    Vectors,
)
from rerank_plugins.middleware import recorded
from rerank_plugins.middleware._transcript import encode_call, encode_reply, read_transcript
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_costs_the_recording_and_not_the_ranking(caplog):
    expected = Reranker(QueryLikelihood(), Oracle()).rank("q", TEXTS)
    reranker = Reranker(QueryLikelihood(), recorded(Oracle(), "/dev/full"))
    for _ in range(3):
        assert reranker.rank("q", TEXTS).order == expected.order
    assert asyncio.run(reranker.arank("q", TEXTS)).order == expected.order
    assert ["No space left" in r.getMessage() for r in caplog.records] == [True]


@given(room=st.integers(0, 9_000))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_disk_that_fills_up_leaves_whole_batches(tmp_path, room):
    def limited():  # in the child: no file may become longer
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    file = tmp_path / "run.jsonl"
    file.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            limited()
            backend = recorded(Oracle(), file)
            replies = [backend.run([A, ScorePair("q", "b" * 500 * n)]) for n in range(6)]
            os._exit(0 if all(len(r) == 2 for r in replies) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    found = list(read_transcript(file)) if file.stat().st_size else []
    assert len(found) % 2 == 0
    assert file.stat().st_size <= room
    sizes = [len(call.passage) for call, _ in found[1::2]]
    assert sizes == [500 * n for n in range(len(sizes))]


def test_a_folder_that_is_removed_ends_the_recording(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    backend = recorded(Oracle(), folder / "run.jsonl")
    backend.run([A])
    shutil.rmtree(folder)
    assert len(backend.run([A])) == len(backend.run([B])) == 1
    assert len(caplog.records) == 1


def whole_transcript():
    prompt = Prompt((Message("user", ("Rank ", Untrusted("a"), Identifier(0))),), prefill=("[",))
    entries = [
        (A, Reply(0.5, prompt_tokens=3)),
        (A, BackendError("down", retryable=True)),
        (A, PromptTooLongError(5, limit=100)),
        (NextToken(prompt, ("A", "B")), Reply(LabelLogprobs({"A": -0.5}), truncated=(0,))),
        (NextToken(prompt, ("A",)), Reply(LabelLogprobs({"A": -0.5}, normaliser=12.5))),
        (Generate(prompt, 5, stop=("x",)), Reply(Completion("[1]", tokens=(("[", -0.1),)))),
        (Likelihood(prompt, Untrusted("q", "query")), Reply(ContinuationLogprob(-3.5, 4))),
        (ScorePair("q", "p"), Reply(0.5, 3, score_kind="similarity")),
        (Embed(prompt, ("<m>",)), Reply(Vectors(((0.5, -1.0), (2.0, 0.25))), 7)),
        (Search((0.5, 1.0), 3), Reply((Hit("1", "text", (0.5,), 2.0), Hit("2", "more")))),
    ]
    return [{"call": encode_call(c), "reply": encode_reply(r)} for c, r in entries], entries


def places(value, at=()):
    """The paths of all values in JSON."""
    yield at
    inner = value.items() if isinstance(value, dict) else []
    for key, one in enumerate(value) if isinstance(value, list) else inner:
        yield from places(one, (*at, key))


WRONG = [None, True, 7, -0.5, "text", [], {}, [1, "a"], {"a": 1}, [[]], float("nan"), 10**400]
ROWS, ENTRIES = whole_transcript()


def test_every_kind_of_entry_comes_back(tmp_path):
    file = tmp_path / "run.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    found = list(read_transcript(file))
    assert [call for call, _ in found] == [call for call, _ in ENTRIES]
    assert [reply for _, reply in found] == [reply for _, reply in ENTRIES]


@given(data=st.data())
@settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_transcript_is_an_input_error_or_right(tmp_path, data):
    rows = copy.deepcopy(ROWS)
    number = data.draw(st.integers(0, len(rows) - 1))
    at = data.draw(st.sampled_from([p for p in places(rows[number]) if p]))
    holder = rows[number]
    for key in at[:-1]:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[at[-1]] = data.draw(st.sampled_from(WRONG))
    elif isinstance(holder, dict):
        holder[data.draw(st.sampled_from([at[-1], "other"]))] = holder.pop(at[-1])
    else:
        del holder[at[-1]]
    file = tmp_path / "run.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    try:
        found = list(read_transcript(file))
        Replay(file)
    except InputError as error:
        assert f"line {number + 1} of {file}" in str(error)  # noqa: PT017
    else:
        again = [{"call": encode_call(c), "reply": encode_reply(r)} for c, r in found]
        assert len(again) == len(rows)
        for call, reply in found:
            hash(call)
            repr(reply)


@given(data=st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_bytes_of_a_transcript(tmp_path, data):
    whole = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 40)))
    file = tmp_path / "run.jsonl"
    file.write_bytes(whole[:start] + data.draw(st.binary(max_size=20)) + whole[stop:])
    try:
        Replay(file)
    except InputError as error:
        assert str(file) in str(error)  # noqa: PT017


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_deeply_nested_transcript(tmp_path, depth):
    file = tmp_path / "run.jsonl"
    nested = "[" * depth + "]" * depth
    file.write_text(f'{{"call": {{"kind": "Search", "vector": {nested}, "k": 1}}, "reply": {{}}}}')
    with pytest.raises(InputError, match="line 1"):
        Replay(file)


def test_a_transcript_keeps_the_cost_of_a_failure(tmp_path):
    error = BackendError("no text", prompt_tokens=7, generated_tokens=2)
    recorded(Failing(lambda: error), tmp_path / "run.jsonl").run([A])
    [reply] = Replay(tmp_path / "run.jsonl").run([A])
    assert (reply.prompt_tokens, reply.generated_tokens) == (7, 2)
