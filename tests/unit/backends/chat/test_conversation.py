"""Conversations with a chat model, and what they leave known."""

import math
import threading

import pytest

from rerank_plugins import BackendError, LogprobsError
from rerank_plugins.backends._answers.logprobs import Position
from rerank_plugins.backends.chat._conversation import Said
from rerank_plugins.backends.chat._dialects import Dialect
from rerank_plugins.backends.chat._model import ChatModelBackend
from rerank_plugins.calls import Generate, Message, NextToken, Prompt

TOP = [("B", -0.2), ("A", -1.5)]


def generate(**options):
    prompt = Prompt((Message("user", ("rank",)),))
    return Generate(prompt, **{"max_tokens": 50, "stop": ("END",), **options})


class Scripted(ChatModelBackend):
    """Answers with what a function of the arguments returns or raises."""

    def __init__(self, answer, **options):
        super().__init__(Dialect(), **{"max_concurrency": 4, **options})
        self.answer, self.asked, self.lock = answer, [], threading.Lock()

    def ask(self, asked):
        with self.lock:
            self.asked.append(dict(asked.arguments))
        found = self.answer(asked.arguments)
        if isinstance(found, Exception):
            raise found
        return found

    async def aask(self, asked):
        return self.ask(asked)


def question():
    return NextToken(Prompt((Message("user", ("rank",)),), prefill="["), ("A", "B"))


def test_what_the_first_answer_teaches_is_not_asked_again():
    """Also by the other calls of the same batch."""
    silent = Scripted(lambda arguments: Said("[A]"))
    replies = silent.run([question()] * 9)
    assert all(isinstance(reply, LogprobsError) for reply in replies)
    assert len(silent.asked) == 1


def test_an_empty_answer_teaches_nothing():
    mute = Scripted(lambda arguments: Said(""))
    for _ in range(2):
        assert isinstance(mute.run([question()])[0], LogprobsError)
    assert len(mute.asked) == 2


def test_a_passing_failure_teaches_nothing():
    errors = iter([ConnectionError("gone"), Said("B", (Position("B", tuple(TOP)),))])
    backend = Scripted(lambda arguments: next(errors))
    assert isinstance(backend.run([question()])[0], BackendError)
    assert backend.run([question()])[0].answer.seen == dict(TOP)


def test_a_refusal_that_is_about_something_else_ends():
    backend = Scripted(lambda arguments: ValueError(f"bad: {' '.join(arguments)}"))
    [reply] = backend.run([question()])
    assert isinstance(reply, BackendError)
    assert 1 < len(backend.asked) < 6
    assert backend.asked[-1] == {}
    backend.run([question()])
    assert backend.asked[len(backend.asked) // 2] == backend.asked[0]  # nothing was learnt


def test_a_model_that_thinks_is_asked_once_more_and_pays_for_both():
    def answer(arguments):
        if arguments["max_tokens"] < 1000:
            return Said("<think>well", cut=True, prompt_tokens=7, generated_tokens=50)
        return Said("<think>well</think>[B]", prompt_tokens=7, generated_tokens=60)

    thinker = Scripted(answer)
    [reply] = thinker.run([generate()])
    assert reply.answer.text.endswith("[B]")
    assert (reply.prompt_tokens, reply.generated_tokens) == (14, 110)
    thinker.run([generate()])
    assert len(thinker.asked) == 3


@pytest.mark.parametrize(
    "text",
    ["", "[THINK]well", "<|channel|>analysis<|message|>well", "<Reasoning>a [B]", "</think>"],
)
def test_reasoning_of_every_family_that_is_cut_is_no_answer(text):
    assert Said(text, cut=True).thinking
    ends = "</think>[/THINK]</reasoning><|channel|>final<|message|>"
    assert not Said(f"{text}{ends}[B]", cut=True).thinking


def test_the_longest_answer_is_told_to_be_cut():
    [reply] = Scripted(lambda arguments: Said("[A] > [", cut=True)).run([generate()])
    assert reply.answer.finish_reason == "length"


def test_values_are_those_that_were_reported():
    value = -math.pi
    said = Said("B", (Position("[", (("[", -0.1),)), Position("B", (("B", value),))))
    assert Scripted(lambda arguments: said).run([question()])[0].answer.seen == {"B": value}
