"""The parts that backends share."""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from rerank_plugins import BackendError, CallError, PromptTooLongError, UnsupportedCallError
from rerank_plugins._threads import in_thread
from rerank_plugins.backends._base import (
    LocalModel,
    by_kind,
    distinct,
    in_order,
    prepared,
    require_room,
)
from rerank_plugins.calls import Generate, Message, NextToken, Prompt, Reply, ScorePair

PAIRS = [ScorePair("q", text) for text in "abc"]
PROMPT = Prompt((Message("user", ("?",)),))


@dataclass
class Counting:
    """A loaded model that answers with the length of the passage."""

    asked: list

    @property
    def table(self):
        return {ScorePair: self.score}

    def score(self, calls):
        self.asked.append(list(calls))
        return [Reply(float(len(call.passage))) for call in calls]


@dataclass(eq=False, repr=False, kw_only=True)
class Model(LocalModel[Counting]):
    """A local model that counts how often it is loaded."""

    model: object = "name"
    token: object = None
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self):
        super().__post_init__()
        self.loads, self.asked = 0, []

    def _load(self):
        self.loads += 1
        return Counting(self.asked)


def test_a_mixed_batch_is_answered_by_kind_and_in_order():
    texts = [NextToken(PROMPT, ("A",)), Generate(PROMPT, 1)]
    table = {
        ScorePair: lambda calls: [Reply(c.passage) for c in calls],
        NextToken: lambda calls: [Reply("next") for _ in calls],
        Generate: lambda calls: [Reply("text") for _ in calls],
    }
    calls = [PAIRS[0], texts[0], PAIRS[1], texts[1], PAIRS[2]]
    assert [r.answer for r in by_kind(calls, table)] == ["a", "next", "b", "text", "c"]


def test_a_kind_without_a_function_is_refused():
    with pytest.raises(UnsupportedCallError, match=r"NextToken.*ScorePair"):
        by_kind([NextToken(PROMPT, ("A",))], {ScorePair: list})


def test_repeated_calls_are_removed_in_order():
    assert distinct([PAIRS[1], PAIRS[0], ScorePair("q", "b")]) == [PAIRS[1], PAIRS[0]]


def test_an_error_while_preparing_stays_with_its_call():
    def prepare(call):
        if call.passage == "b":
            raise CallError("no")
        return call.passage

    assert prepared(PAIRS, prepare) == ({0: "a", 2: "c"}, {1: CallError("no")})


def test_calls_without_a_reply_were_cancelled():
    first, second = in_order({1: Reply(1.0)}, PAIRS[:2])
    assert isinstance(first, BackendError)
    assert second == Reply(1.0)


def test_a_prompt_may_fill_the_context_and_not_exceed_it():
    require_room(10, 10)
    with pytest.raises(PromptTooLongError) as caught:
        require_room(12, 10)
    assert (caught.value.excess_tokens, caught.value.limit) == (2, 10)


def test_a_local_model_is_loaded_once_and_again_after_close():
    model = Model()
    assert model.loads == 0
    model.warm_up()
    assert [r.answer for r in model.run(PAIRS)] == [1.0, 1.0, 1.0]
    assert model.loads == 1
    model.close()
    model.close()
    assert model.loads == 1
    model.run(PAIRS[:1])
    assert model.loads == 2


def test_a_local_model_asks_equal_calls_once():
    model = Model()
    first, other, again = model.run([PAIRS[0], ScorePair("q", "long"), PAIRS[0]])
    assert first == again == Reply(1.0)
    assert other == Reply(4.0)
    assert model.asked == [[PAIRS[0], ScorePair("q", "long")]]


def test_a_cancelled_caller_that_waits_for_its_turn_loads_nothing():
    model = Model()
    with model._lock:
        job = in_thread(lambda: model.run(PAIRS))
        job.cancelled.set()
    replies = job.future.result(60)
    assert all(isinstance(reply, BackendError) for reply in replies)
    assert len(replies) == 3
    assert model.loads == 0


def test_threads_share_one_loaded_model():
    model, barrier = Model(), threading.Barrier(8)

    def work():
        barrier.wait(60)
        return model.run(PAIRS)

    jobs = [in_thread(work) for _ in range(8)]
    assert all(job.future.result(60) == model.run(PAIRS) for job in jobs)
    assert model.loads == 1


def test_a_local_model_shows_its_name_or_the_type_of_its_model():
    assert repr(Model(model=Path("some/folder"))) == (
        "Model('some/folder', device='auto', dtype='auto')"
    )
    assert repr(Model(model=Counting([]), token="s3cret")).startswith("Model('Counting', ")
    assert "s3cret" not in repr(Model(token="s3cret"))


def test_a_token_may_be_a_function():
    assert Model(token="a")._hub_token() == Model(token=lambda: "a")._hub_token() == "a"
    assert Model()._hub_token() is None


def test_the_first_cut_is_logged_and_no_other(caplog):
    class Cutting(Model):
        def _load(self):
            table = {ScorePair: lambda calls: [Reply(1.0, truncated=(0,)) for _ in calls]}
            return type("Loaded", (), {"table": table})

    model = Cutting()
    for _ in range(3):
        model.run([*PAIRS, PAIRS[0]])
    [record] = caplog.records
    assert record.name == "rerank_plugins.backends"
    assert "texts of 3 of 3 calls were cut" in record.getMessage()
