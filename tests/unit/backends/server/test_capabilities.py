"""What a server turns out to have: models, routes, log-probabilities."""

import pytest
from openai_server import MODEL, OpenAIServer, Scoring
from server_rankings import best_first, of, passages

from rerank_plugins import ConfigurationError, LogprobsError, Reranker, UnsupportedCallError
from rerank_plugins.backends import OpenAIBackend
from rerank_plugins.strategies import PairScore, Permutation, SingleToken


def test_a_model_that_the_server_does_not_have(served):
    server = served(OpenAIServer(models=["qwen3-8b", "other"]))
    backend = OpenAIBackend("qwen3-4b", base_url=server.url)
    with pytest.raises(ConfigurationError, match=r"has no model 'qwen3-4b'\. It has 'qwen3-8b'"):
        Reranker(SingleToken(), backend).rank("q", passages(3))


def test_a_name_with_or_without_a_folder_is_the_one_that_the_server_lists(served):
    server = served(OpenAIServer(models=["other", f"/models/{MODEL}"]))
    backend = OpenAIBackend(f"somebody/{MODEL}", base_url=server.url)
    assert Reranker(SingleToken(), backend).rank("q", passages(3)).order == best_first(passages(3))
    assert server.asked[-1]["model"] == f"/models/{MODEL}"
    server.models = [f"a/{MODEL}", f"b/{MODEL}"]
    with pytest.raises(ConfigurationError, match=rf"It has '[ab]/{MODEL}', '[ab]/{MODEL}'\."):
        Reranker(SingleToken(), of(server)).rank("q", passages(3))


class Absent(OpenAIServer):
    """Lists nothing, and has no such model, path or whatever it is."""

    def reply(self, handler, body):
        self.send(handler, 404, {"error": {"message": "The model does not exist"}})


@pytest.mark.parametrize("by_ids", [True, False])
def test_a_model_that_is_not_there_is_no_failure_of_a_call(served, tokenizer, by_ids):
    """Not even where the order may be kept: no query would ever be ranked."""
    server = served(Absent())
    backend = of(server, **({"tokenizer": tokenizer} if by_ids else {}))
    for strategy in (SingleToken(), Permutation(prompt="first.v1")):
        with pytest.raises(ConfigurationError, match=r"no model 'served-model'.*Check model and"):
            Reranker(strategy, backend, on_error="keep_order").rank("q", passages(3))


def test_a_model_that_was_there_and_is_not_found_is_a_failure(served):
    """As behind a proxy while the server starts again."""
    server = served(OpenAIServer())
    ranker = Reranker(SingleToken(), of(server), on_error="keep_order")
    assert ranker.rank("q", passages(3)).order == best_first(passages(3))
    server.__class__ = Absent
    assert "404" in ranker.rank("q", passages(3)).report.fallbacks[0]


@pytest.mark.parametrize("by_ids", [True, False])
def test_log_probabilities_that_one_may_not_have_are_no_wrong_key(served, tokenizer, by_ids):
    server = served(OpenAIServer("no_logprobs_here", tokenizer=tokenizer))
    backend = of(server, **({"tokenizer": tokenizer} if by_ids else {}))
    with pytest.raises(LogprobsError, match="generate"):
        Reranker(SingleToken(), backend).rank("q", passages(5))
    ranking = Reranker(SingleToken(policy="generate"), backend).rank("q", passages(5))
    assert ranking.order == best_first(passages(5))


def test_a_key_that_may_not_list_models_may_use_them(served):
    server = served(OpenAIServer())
    server.list_models = lambda handler: server.send(handler, 403, {"error": "Missing scopes"})
    assert Reranker(SingleToken(), of(server)).rank("q", passages(3)).order == best_first(
        passages(3)
    )
    server.faults.add("forbidden")
    with pytest.raises(ConfigurationError, match="refused the key"):
        Reranker(SingleToken(), of(server), on_error="keep_order").rank("q", passages(3))


def test_what_a_server_has_not_is_asked_once(served):
    """As llama.cpp answers without ``--reranking``: a status of 501, and no passing failure."""
    server = served(Scoring("vllm"))
    server.send, send = lambda handler, *_: send(handler, 501, {"error": "no"}), server.send
    with pytest.raises(UnsupportedCallError, match="scores no pairs"):
        Reranker(PairScore(), of(server), on_error="keep_order").rank("q", ["a", "b"])
    assert len(server.asked) == len(ROUTES)


ROUTES = ("/score", "/rerank", "/v1/rerank")
