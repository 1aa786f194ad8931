"""The base of the backends for frameworks' chat models."""

import asyncio
import threading
import time

import pytest

from rerank_plugins import BackendError, InputError, UnsupportedCallError
from rerank_plugins.backends.chat import ChatModelBackend, Dialect, Said
from rerank_plugins.calls import Generate, Message, Prompt, ScorePair

CALL = Generate(Prompt((Message("user", ("Say yes.",)),)), max_tokens=3)


class Model(ChatModelBackend):
    """Answers yes, and counts how many are asked at once."""

    def __init__(self, max_concurrency=4):
        super().__init__(Dialect(), max_concurrency)
        self.now = self.most = 0
        self.lock = threading.Lock()

    def ask(self, asked):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1
        return Said("yes")


def calls(n):
    return [Generate(CALL.prompt, max_tokens=3 + i) for i in range(n)]


def texts(replies):
    return [reply.answer.text for reply in replies]


@pytest.mark.parametrize("most", [1, 3])
def test_at_most_so_many_are_asked_at_once(most):
    model = Model(most)
    assert texts(model.run(calls(9))) == ["yes"] * 9
    assert model.most == most


def test_a_model_without_an_asynchronous_client_is_asked_in_threads():
    model = Model(max_concurrency=1)
    assert texts(asyncio.run(model.arun(calls(3)))) == ["yes"] * 3
    assert model.most == 1  # one thread at a time


def test_what_the_client_raises_is_the_answer_of_its_call():
    class Broken(Model):
        def ask(self, asked):
            if asked.arguments["max_tokens"] == 4:
                raise ZeroDivisionError("oops")
            return Said("yes")

    first, second, third = Broken().run(calls(3))
    assert texts([first, third]) == ["yes", "yes"]
    assert isinstance(second, BackendError)
    assert "ZeroDivisionError: oops" in str(second)


def test_other_kinds_of_calls_are_refused():
    with pytest.raises(UnsupportedCallError, match="cannot answer ScorePair"):
        Model().run([CALL, ScorePair("q", "p")])


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "8"])
def test_the_number_at_once_is_a_whole_number(bad):
    with pytest.raises(InputError, match="max_concurrency"):
        Model(bad)
