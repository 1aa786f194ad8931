"""Usage and limits of one plan."""

import pytest

from rerank_plugins import CallError, InputError, Limits, Usage
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.middleware import limited, metered
from rerank_plugins.plans import ask, ask_each, run
from rerank_plugins.testing import Oracle

A, B = ScorePair("q", "a"), ScorePair("q", "b")


TEXTS = [f"passage {i}" for i in range(25)]


def two_rounds():
    yield from ask([A, B])
    yield from ask([A])
    return "done"


def test_usage_is_counted_per_plan():
    clock = iter([10.0, 12.5]).__next__
    result, usage = run(metered(two_rounds(), clock), Oracle().run)
    assert result == "done"
    assert usage == Usage(calls=3, batches=2, prompt_tokens=6, seconds=2.5)


def test_tokens_of_answers_that_cannot_be_used_are_counted():
    def plan():
        return (yield from ask_each([A, B]))

    error = CallError("unreadable", prompt_tokens=7, generated_tokens=2)
    replies, usage = run(metered(plan()), lambda calls: [error, Reply(0.5, 3, 1)])
    assert (usage.prompt_tokens, usage.generated_tokens) == (10, 3)
    assert replies[0].prompt_tokens == 7


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        (Limits(max_calls=2), 2),
        (Limits(max_calls=1), 0),
        (Limits(max_calls=3), 3),
        (Limits(max_prompt_tokens=4), 2),
        (Limits(max_prompt_tokens=6), 3),
        (Limits(max_generated_tokens=1), 3),
        (Limits(timeout_s=1.5), 2),
        (Limits(), 3),
    ],
)
def test_limits(limits, asked):
    oracle = Oracle()
    clock = iter([0.0, 1.0, 2.0, 3.0]).__next__
    plan = limited(two_rounds(), limits, clock)
    if asked == 3:
        assert run(plan, oracle.run) == "done"
    else:
        with pytest.raises(Exception, match="limit of"):
            run(plan, oracle.run)
    assert len(oracle.asked) == asked


@pytest.mark.parametrize("name", ["max_calls", "max_prompt_tokens", "timeout_s"])
def test_limits_must_be_positive(name):
    with pytest.raises(InputError, match=name):
        Limits(**{name: 0})
