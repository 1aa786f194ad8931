"""Probing: one caller probes, the others share what was found."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai_server import MODEL, OpenAIServer
from server_rankings import PROBES, best_first, of, passages

from rerank_plugins import BackendError, Reranker
from rerank_plugins.backends._server.capabilities import Server
from rerank_plugins.backends._server.probing import Probing
from rerank_plugins.calls import NextToken
from rerank_plugins.strategies import SingleToken


def test_nothing_is_learnt_from_a_server_that_is_down(served):
    server = OpenAIServer()
    server.close()
    backend = of(server, attempts=1)
    with pytest.raises(BackendError):
        Reranker(SingleToken(), backend).rank("q", passages(6))
    served(OpenAIServer(port=server.port))
    assert Reranker(SingleToken(), backend).rank("q", passages(6)).order == best_first(passages(6))


def test_threads_that_start_together_learn_once(served):
    server = served(OpenAIServer("busy"))
    ranker = Reranker(SingleToken(), of(server))
    with ThreadPoolExecutor(16) as pool:
        rankings = [*pool.map(lambda i: ranker.rank("q", passages(5, seed=i)), range(16))]
    assert [r.order for r in rankings] == [best_first(passages(5, seed=i)) for i in range(16)]
    assert len(server.asked) == 16 + PROBES


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_those_who_wait_for_what_one_learns_share_its_failure(served, colour):
    """They don't ask a server that is down in turn, each with its own attempts."""
    server = served(OpenAIServer("down", "busy", models=[MODEL]))
    backend = of(server, attempts=2)
    ranker = Reranker(SingleToken(), backend, on_error="keep_order")

    async def all_of_them():
        return await asyncio.gather(*(ranker.arank("q", passages(5)) for _ in range(12)))

    if colour == "async":
        rankings = asyncio.run(all_of_them())
    else:
        with ThreadPoolExecutor(12) as pool:
            rankings = [*pool.map(lambda _: ranker.rank("q", passages(5)), range(12))]
    assert all("the server is down" in r.report.fallbacks[0] for r in rankings)
    assert len(server.asked) == 2  # of one
    server.faults.clear()
    assert ranker.rank("q", passages(5)).order == best_first(passages(5))  # the next one asks anew


def test_one_that_is_cancelled_while_it_learns_leaves_that_to_the_next(served):
    server = served(OpenAIServer("slow"))
    ranker = Reranker(SingleToken(), of(server))

    async def rank():
        first, second = (asyncio.create_task(ranker.arank("q", passages(5))) for _ in range(2))
        while not server.asked:  # noqa: ASYNC110 - the server is in a thread
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        server.gate.set()
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], BaseException)
        return await second

    assert asyncio.run(rank()).order == best_first(passages(5))


def test_each_caller_gets_its_own_failure():
    """One that notes something in the error must not tell it to the others."""
    server = Server("m")
    probing = Probing(server, lambda: None)
    down = BackendError("down", retryable=True, retry_after_s=7.0)
    with pytest.raises(BackendError) as first:
        probing.probe([NextToken], lambda request: down)
    raised = []
    for _ in range(2):
        with pytest.raises(BackendError) as error, probing._shared(before=0):
            pass  # as a caller that waited for the first one
        raised.append(error.value)
    assert raised[0] == raised[1] == first.value == down
    assert len({id(error) for error in (*raised, first.value)}) == 3
    assert server.unprobed([NextToken])
