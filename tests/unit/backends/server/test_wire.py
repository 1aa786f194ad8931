"""Answers of servers, read."""

import json

import pytest
from openai_server import MODEL, OpenAIServer
from server_rankings import best_first, passages

from rerank_plugins import BackendError, ConfigurationError, PromptTooLongError, Reranker
from rerank_plugins.backends import OpenAIBackend
from rerank_plugins.backends._server.exchange import RefusedError
from rerank_plugins.backends._server.wire import completion, has_pair_scores, read_response
from rerank_plugins.strategies import SingleToken


@pytest.mark.parametrize("by_ids", [True, False])
@pytest.mark.parametrize("other", ["gpt-x", "served", "served-mod"])
def test_an_answer_of_another_model(served, tokenizer, by_ids, other):
    server = served(OpenAIServer(tokenizer=tokenizer))
    options = {"tokenizer": tokenizer} if by_ids else {}
    backend = OpenAIBackend(other, base_url=server.url, **options)
    says = f"'{other}' was asked, and 'served-model' answered. Give model='served-model', or"
    with pytest.raises(ConfigurationError, match=says):
        Reranker(SingleToken(), backend, on_error="keep_order").rank("q", passages(3))
    known = OpenAIBackend(other, base_url=server.url, answered_by=MODEL, **options)
    assert Reranker(SingleToken(), known).rank("q", passages(3)).order == best_first(passages(3))


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-x", "gpt-x", True),
        ("gpt-x", "gpt-x-2026-01-31", True),
        ("gpt-x", "gpt-x-0613", True),
        ("openai/gpt-x", "gpt-x-0125-preview", True),
        ("Org/Llama-3", "llama-3", True),
        ("llama3", "llama3:latest", True),
        ("claude-x-latest", "claude-x-20260131", True),
        ("gpt-x", "gpt-x-mini", False),
        ("gpt-x", "gpt-x-32k", False),
        ("gpt-x", "gpt-xl", False),
        ("gpt-x", "gpt-x-mini-2026-01-31", False),
        ("gpt-x-2026-01-31", "gpt-x", False),
        ("llama-3", "llama-3-70b", False),
    ],
)
def test_a_version_of_a_model_is_it(served, asked, answered, same):
    server = served(OpenAIServer())
    usual = server.answer
    server.answer = lambda *question: {**usual(*question), "model": answered}
    ranker = Reranker(SingleToken(), OpenAIBackend(asked, base_url=server.url))
    if same:
        assert ranker.rank("q", passages(3)).order == best_first(passages(3))
    else:
        with pytest.raises(ConfigurationError, match="answered"):
            ranker.rank("q", passages(3))


CONTEXT = "This model's maximum context length is 8192 tokens. However, your prompt contains "


@pytest.mark.parametrize(
    ("error", "excess"),
    [
        ({"message": CONTEXT + "9000 input tokens, which exceeds this limit"}, 808),  # vLLM
        ({"message": CONTEXT + "at least 8192 input tokens, which exceeds this limit"}, 2048),
        (
            {
                "message": CONTEXT + "900000 characters (more than 800000 characters, which is "
                "the upper bound for 8191 input tokens)."
            },
            2048,
        ),
        ({"message": "too large", "n_prompt_tokens": 9000, "n_ctx": 8192}, 809),  # llama.cpp
    ],
)
def test_how_much_too_long_a_prompt_is(error, excess):
    found = read_response(400, {}, json.dumps({"error": error}).encode(), set())
    assert isinstance(found, PromptTooLongError)
    assert (found.excess_tokens, found.limit) == (excess, 8192)


@pytest.mark.parametrize(
    ("answer", "scored"),
    [
        ({"results": [{"index": 0, "relevance_score": 0.5}, {"index": 1, "score": 2}]}, True),
        # a service whose model fails for the moment scores pairs all the same
        ({"results": [{"index": i, "relevance_score": None} for i in (0, 1)]}, True),
        ([{"index": 1, "score": 0.5}, {"index": 0, "score": 0.1}], True),
        ({"results": [{"index": 0, "relevance_score": 0.5}]}, False),
        ({"results": [{"index": 0, "text": "b"}, {"index": 1, "text": "c"}]}, False),
        ({"results": [{"index": 0, "score": 1}, {"index": 2, "score": 1}]}, False),
        ({"data": []}, False),
        ({"error": "no such path"}, False),
        ([1, 2], False),
        (None, False),
    ],
)
def test_whether_a_path_scores_pairs(answer, scored):
    assert has_pair_scores(answer, 2) is scored


def test_content_may_be_a_list_of_parts():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "[1]"}]}
    parts = [thought, {"type": "text", "text": "[2] >"}, {"type": "text", "text": " [1]"}]
    assert completion({"message": {"content": parts}}, logprobs=False).text == "[2] > [1]"
    assert completion({"message": {"content": [thought]}}, logprobs=False).text == ""
    for content in ([7], 7, {"text": "a"}):
        with pytest.raises(BackendError, match="no text"):
            completion({"message": {"content": content}}, logprobs=False)


def test_a_redirect_says_where_to():
    headers = {"location": "https://models.example/v1/models?key=sk-secret"}
    found = read_response(
        301, headers, b"moved", None, hide=lambda text: text.replace("sk-secret", "***")
    )
    assert isinstance(found, RefusedError)
    assert "301: a redirect to https://models.example/v1/models?key=***" in str(found)
    assert found.hint == "Give base_url=..."
