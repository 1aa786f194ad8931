"""Prompts that do not fit, and passages that become shorter until they do."""

from functools import partial

import pytest

from rerank_plugins import BackendError, PromptTooLongError
from rerank_plugins.calls import Completion, Generate, Reply
from rerank_plugins.plans import run
from rerank_plugins.prompts import PointwisePrompt, load_prompt
from rerank_plugins.strategies._fit import ask_fitted, ask_window, shorter

ONE = PointwisePrompt(user="{query}: {passage}", labels=("yes", "no"))


class Short:
    """A model with room for so many words, at a token each."""

    def __init__(self, room):
        self.room, self.asked = room, []

    def __call__(self, calls):
        self.asked += calls
        return [self.answer(len(call.prompt.text.split())) for call in calls]

    def answer(self, words):
        if words > self.room:
            return PromptTooLongError(words - self.room, limit=self.room)
        return Reply(Completion("ok"))


def ask(passage, handle):
    render = partial(ONE.render, "q", passage)
    plan = ask_fitted(render, lambda p: Generate(p, 1), [passage], ONE.most_words)
    return run(plan, handle)


def test_a_prompt_that_fits_is_asked_once():
    model = Short(10)
    found = ask("a b c", model)
    assert found.answer == Completion("ok")
    assert found.prompt == model.asked[0].prompt
    assert found.cut == frozenset()
    assert len(model.asked) == 1


def test_a_passage_becomes_shorter_until_it_fits():
    model = Short(5)
    found = ask("a b c d e f g h", model)
    kept = [call.prompt.text.split()[1:] for call in model.asked]
    assert kept == [
        list("abcdefgh"[:n]) for n in (8, 7, 6, 5, 4)
    ]  # one less: 4 // 4, then at least 1
    assert found.prompt.text == "q: a b c d"
    assert found.cut == {0}


def test_one_word_per_passage_may_be_too_long():
    with pytest.raises(PromptTooLongError, match="one word per passage") as raised:
        ask("a b", Short(1))
    assert (raised.value.excess_tokens, raised.value.limit) == (1, 1)


def test_other_failures_are_raised():
    with pytest.raises(BackendError, match="gone"):
        ask("a", lambda calls: [BackendError("gone") for _ in calls])


def test_passages_that_the_backend_cut_are_counted_among_passages():
    """Of first.v1's untrusted parts the first and the last are the query."""
    template = load_prompt("first.v1")
    plan = ask_window(template, "q", ["a", "word " * 301, "c"], lambda p: Generate(p, 1))
    found = run(plan, lambda calls: [Reply(Completion("ok"), truncated=(0, 3, 4)) for _ in calls])
    assert found.cut == {1, 2}


@pytest.mark.parametrize(
    ("limit", "excess", "passages", "expected"),
    [
        (300, 800, ["word " * 400] * 20, 290),  # 800 // 80
        (300, 7, ["word " * 400] * 20, 299),  # at least 1
        (300, 10**6, ["word " * 400] * 20, 150),  # at most half
        (300, 4, ["word " * 10], 9),  # no passage is longer than 10
        (3, 100, ["word " * 10], 2),
    ],
)
def test_the_next_limit(limit, excess, passages, expected):
    assert shorter(limit, PromptTooLongError(excess), passages) == expected
