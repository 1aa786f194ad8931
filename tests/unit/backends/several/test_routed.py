"""Calls go to the backend of their kind."""

import asyncio

import pytest

from rerank_plugins import UnsupportedCallError
from rerank_plugins.backends import Routed
from rerank_plugins.calls import (
    Embed,
    Generate,
    Message,
    NextToken,
    Prompt,
    Reply,
    ScorePair,
    Search,
)
from rerank_plugins.handlers import OwnedBackends

PROMPT = Prompt((Message("user", ("hello",)),))
PAIR, TEXT, FIND = ScorePair("q", "p"), Generate(PROMPT, 1), Search((1.0,), 1)


class Named:
    """Answers with its name; remembers its life cycle."""

    def __init__(self, name, kinds=None):
        self.name, self.life = name, []
        if kinds is not None:
            self.kinds = frozenset(kinds)

    def run(self, calls):
        return [Reply(self.name) for _ in calls]

    def warm_up(self):
        self.life.append("warm_up")

    def close(self):
        self.life.append("close")

    async def aclose(self):
        self.life.append("aclose")


def test_every_kind_goes_to_its_backend_and_comes_back_in_order():
    backend = Routed(pairs=Named("pairs"), text=Named("text"), search=Named("search"))
    calls = [TEXT, PAIR, FIND, TEXT]
    names = ["text", "pairs", "search", "text"]
    assert [reply.answer for reply in backend.run(calls)] == names
    assert [reply.answer for reply in asyncio.run(backend.arun(calls))] == names


@pytest.mark.parametrize(("call", "name"), [(PAIR, "pairs"), (FIND, "search")])
def test_a_kind_without_a_backend_names_the_argument(call, name):
    with pytest.raises(UnsupportedCallError, match=f"Give {name}="):
        Routed(text=Named("text")).run([call])


def test_kinds_are_those_that_are_routed():
    text = Named("text", {Generate, NextToken, ScorePair})
    assert Routed(text=text).kinds == {Generate, NextToken}
    pairs = Named("pairs", {ScorePair, Generate})
    assert Routed(text=text, pairs=pairs, search=text).kinds == {
        *(Generate, NextToken, ScorePair, Search)
    }
    assert Routed(text=Named("says nothing")).kinds is None


def test_vectors_may_come_from_another_model():
    text, vectors = Named("text", {Generate, Embed}), Named("vectors", {Embed, NextToken})
    call = Embed(PROMPT)
    assert [reply.answer for reply in Routed(text=text).run([call])] == ["text"]
    backend = Routed(text=text, vectors=vectors)
    assert [reply.answer for reply in backend.run([call, TEXT])] == ["vectors", "text"]
    assert backend.kinds == Routed(text=text).kinds == {Generate, Embed}
    assert Routed(text=Named("text", {Generate}), vectors=vectors).kinds == {Generate, Embed}
    assert Routed(text=text, vectors=Named("says nothing")).kinds is None
    assert backend.members == (text, vectors)


def test_the_life_cycle_reaches_each_backend_once():
    one, other = Named("one"), Named("other")
    backend = Routed(pairs=one, text=other, search=one)
    assert isinstance(backend, OwnedBackends)
    assert backend.members == (one, other)
    backend.warm_up()
    backend.close()
    asyncio.run(backend.awarm_up())  # in a thread, where a backend has no such method
    asyncio.run(backend.aclose())
    assert one.life == other.life == ["warm_up", "close", "warm_up", "aclose"]
    Routed(text=object()).close()  # a backend without a life cycle
