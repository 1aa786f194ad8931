"""What a server turns out to have: models, routes, log-probabilities."""

import math

import pytest
from openai_server import MODEL, Answering, OpenAIServer, Scoring
from server_rankings import best_first, of, passages

from rerank_plugins import (
    BackendError,
    CallError,
    ConfigurationError,
    LogprobsError,
    Reranker,
    UnsupportedCallError,
)
from rerank_plugins.backends import OpenAIBackend
from rerank_plugins.calls import Likelihood, Message, Prompt, ScorePair, Untrusted
from rerank_plugins.plans import ask, run
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


def reranked(body):
    texts = body["documents"]
    return 200, {"results": [{"index": i, "relevance_score": 0.5} for i in range(len(texts))]}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (402, "Account balance not enough, please recharge."),
        (404, "The model m does not exist"),
        (422, "Unknown model m"),
        (400, "the model is being loaded"),
        (501, "not implemented yet"),
    ],
)
def test_a_refusal_to_score_is_told_and_not_remembered(served, status, words):
    refusals = [(status, {"detail": words})] * 2

    def answer(path, body):
        if path != "/v1/rerank":
            return 404, {"detail": "Not Found"}
        return refusals.pop() if refusals else reranked(body)

    backend = of(served(Answering(answer)))
    ranker = Reranker(PairScore(), backend)
    with pytest.raises((CallError, UnsupportedCallError), match=words):
        ranker.rank("q", ["a", "b"])
    refusals.clear()
    assert ranker.rank("q", ["a", "b"]).order == (0, 1)


def test_a_passing_refusal_does_not_decide_about_labels(served, tokenizer):
    """A balance that is used up says nothing about the log-probabilities."""
    server = served(OpenAIServer(tokenizer=tokenizer))
    usual, refuse = server.refusal, True
    server.refusal = lambda body, headers: (
        (402, {"error": "please recharge"}) if refuse else usual(body, headers)
    )
    ranker = Reranker(SingleToken(), of(server, tokenizer=tokenizer))
    with pytest.raises(BackendError, match="please recharge"):
        ranker.rank("q", passages(3))
    refuse = False
    assert ranker.rank("q", passages(3)).order == best_first(passages(3))


def test_the_words_that_refuse_log_probabilities_are_told(served, tokenizer):
    server = served(OpenAIServer("no_logprobs_here", tokenizer=tokenizer))
    with pytest.raises(LogprobsError, match="You are not allowed to request logprobs"):
        Reranker(SingleToken(), of(server, tokenizer=tokenizer)).rank("q", passages(3))


@pytest.mark.parametrize(
    ("words", "error"), [("echo is not allowed", UnsupportedCallError), ("busy", BackendError)]
)
def test_the_words_that_refuse_the_log_probabilities_of_a_prompt(served, tokenizer, words, error):
    server = served(Answering(lambda path, body: (400, {"error": words})))
    call = Likelihood(Prompt((Message("user", ("a",)),)), Untrusted("b"))
    with pytest.raises(error, match=words):
        run(ask([call]), of(server, tokenizer=tokenizer).run)


def test_a_passing_refusal_does_not_decide_about_beginnings(served):
    """The next batch asks again whether the server continues a given answer."""
    server = served(OpenAIServer("bad_request"))
    ranker = Reranker(SingleToken(), of(server))
    with pytest.raises(CallError, match="bad request, whatever it says"):
        ranker.rank("q", passages(3))
    server.faults.clear()
    assert ranker.rank("q", passages(3)).order == best_first(passages(3))
    assert any("continue_final_message" in body for body in server.asked)


@pytest.mark.parametrize(
    ("listed", "asked", "answers"),
    [
        (["llama3.2:latest", "qwen3:8b"], "llama3.2", "llama3.2"),
        (["openai/gpt-oss-120b", "x/y"], "openai/gpt-oss-120b:nitro", "openai/gpt-oss-120b"),
        (["meta-llama/Llama-3.1-8B"], "meta-llama/Llama-3.1-8B:fastest", "meta-llama/Llama-3.1-8B"),
        (["gpt-4o-mini-2024-07-18"], "my-deployment", "gpt-4o-mini-2024-07-18"),
        (["openai/*"], "openai/gpt-4o-mini", "gpt-4o-mini"),
        (["other"], "alias", "alias"),
    ],
)
def test_the_list_of_models_is_a_hint(served, listed, asked, answers):
    server = served(OpenAIServer(models=listed))
    usual = server.answer
    server.answer = lambda *question: {**usual(*question), "model": answers}
    server.refusal = lambda body, headers: (
        None if body["model"] == asked else (404, {"error": {"message": "no such model"}})
    )
    ranker = Reranker(SingleToken(), OpenAIBackend(asked, base_url=server.url))
    assert ranker.rank("q", passages(3)).order == best_first(passages(3))
    wrong = Reranker(SingleToken(), OpenAIBackend("absent", base_url=server.url))
    with pytest.raises(ConfigurationError, match=r"no such model.*It has "):
        wrong.rank("q", passages(3))


ROWS = {
    "infinity": ("/rerank", "documents", "results", "relevance_score"),
    "voyage": ("/v1/rerank", "documents", "data", "relevance_score"),
}


@pytest.mark.parametrize("shape", ROWS)
def test_other_servers_of_pairs(served, shape):
    """Infinity takes Jina's arguments at TEI's path; Voyage refuses ``top_n``."""
    own, argument, key, name = ROWS[shape]

    def answer(path, body):
        if path != own:
            return 404, {"detail": "Not Found"}
        if argument not in body:
            return 422, {"detail": [{"type": "missing", "loc": ["body", argument]}]}
        if shape == "voyage" and "top_n" in body:
            return 400, {"detail": "Argument 'top_n' is not supported by our API"}
        rows = [{"index": i, name: len(x) / 99} for i, x in enumerate(body[argument])]
        return 200, {"object": "list", key: rows, "usage": {"total_tokens": 7 * len(rows)}}

    ranking = Reranker(PairScore(), of(served(Answering(answer)))).rank("q", ["a", "bbb", "cc"])
    assert ranking.order == (1, 2, 0)
    assert ranking.usage.prompt_tokens == 21


def test_infinity_is_asked_for_logits(served):
    """Without ``raw_scores`` it gives probabilities."""

    def answer(path, body):
        if path != "/rerank" or "documents" not in body:
            return 422 if path == "/rerank" else 404, {"detail": "documents: field required"}
        logits = [float(len(x)) for x in body["documents"]]
        scores = logits if body.get("raw_scores") else [1 / (1 + math.exp(-x)) for x in logits]
        return 200, {"results": [{"index": i, "relevance_score": x} for i, x in enumerate(scores)]}

    ranking = Reranker(PairScore(), of(served(Answering(answer)))).rank("q", ["a", "bbb", "cc"])
    assert (ranking.scores, ranking.score_kind) == ((3.0, 2.0, 1.0), "logit")


def pair_server(shape, logit, probability, honours):
    """Scores by length; ``honours``: whether it returns logits when they are requested."""

    def answer(path, body):
        if path != {"vllm": "/score", "tei": "/rerank", "llamacpp": "/v1/rerank"}[shape]:
            return 404, {}
        texts = body.get("text_2") or body.get("texts") or body["documents"]
        raw = body.get("raw_scores") or body.get("use_activation") is False
        score = logit if honours and (raw or shape == "llamacpp") else probability
        rows = [{"index": i, "score": score(x)} for i, x in enumerate(texts)]
        return 200, rows if shape == "tei" else {"results": rows}

    return answer


KINDS = [
    ("vllm", True, 10),
    ("vllm", True, 300),  # these logits lie between 0 and 1 too
    ("vllm", False, 10),
    ("tei", True, 10),
    ("tei", True, 300),
    ("tei", False, 10),
    ("llamacpp", True, 10),
    ("llamacpp", False, 10),
]


@pytest.mark.parametrize(("shape", "honours", "scale"), KINDS)
def test_probabilities_are_told_from_logits(served, shape, honours, scale):
    def logit(text):
        return len(text) / scale - (1 if scale == 10 else 0)

    def probability(text):
        return 1 / (1 + math.exp(-logit(text)))

    server = Answering(pair_server(shape, logit, probability, honours), models=[MODEL])
    row = {"id": MODEL, "owned_by": shape}
    server.list_models = lambda handler: server.send(handler, 200, {"data": [row]})
    texts = ["a" * n for n in (1, 7, 30, 80)]
    replies = of(served(server)).run([ScorePair("q", text) for text in texts])
    assert [r.answer for r in replies] == pytest.approx([logit(text) for text in texts], abs=1e-6)
