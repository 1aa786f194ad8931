"""FIRST on a real language model equals its definition."""

import asyncio
import string
from concurrent.futures import ThreadPoolExecutor

import pytest

from rerank_plugins import Reranker
from rerank_plugins.evaluation import load_collection, load_run, run_passages
from rerank_plugins.middleware import cached
from rerank_plugins.strategies import Permutation, QueryLikelihood, SingleToken, SlidingWindow

QUERY = "how long is the life cycle of a flea"
TEXTS = [
    "The life cycle of a flea can last anywhere from 20 days to an entire year.",
    "Wolves live in packs and hunt together.",
    "Flea eggs hatch within two days; larvae spin cocoons after one to three weeks.",
    "The stock exchange opened higher on Monday.",
    "Adult fleas can live for several months without eating.",
    "A cat sleeps up to sixteen hours a day.",
    "The flea pupa stays in its cocoon for a week or for a year.",
]


def by_definition(folder, query, texts):
    """Sort the identifiers' logits of one plain forward pass over the hand-made prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    letters = string.ascii_uppercase[: len(texts)]
    listing = "".join(f"[{a}] {t}\n" for a, t in zip(letters, texts, strict=True))
    n = len(texts)
    system = (
        "You are RankLLM, an intelligent assistant that can rank passages based on their "
        "relevancy to the query"
    )
    user = (
        f"I will provide you with {n} passages, each indicated by a alphabetical identifier []. "
        f"Rank the passages based on their relevance to the search query: {query}.\n\n{listing}"
        f"Search Query: {query}.\nRank the {n} passages above based on their relevance to the "
        "search query. All the passages should be included and listed using identifiers, in "
        "descending order of relevance. The output format should be [] > [], e.g., [B] > [A], "
        "Only respond with the ranking results, do not say any word or explain."
    )
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + "["
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.inference_mode():
        logits = model(ids).logits[0, -1]
    wanted = tokenizer.convert_tokens_to_ids(list(letters))
    logprobs = logits.log_softmax(-1)[wanted].tolist()
    order = sorted(range(n), key=lambda i: -logprobs[i])
    return order, [logprobs[i] for i in order], ids.shape[1]


def test_one_forward_pass_and_no_generated_token(smollm2, smollm2_folder):
    order, logprobs, tokens = by_definition(smollm2_folder, QUERY, TEXTS)
    ranking = Reranker(SingleToken(), smollm2).rank(QUERY, TEXTS)
    assert list(ranking.order) == order
    assert ranking.scores == pytest.approx(logprobs, abs=1e-4)
    assert (ranking.usage.calls, ranking.usage.batches) == (1, 1)
    assert ranking.usage.generated_tokens == 0
    assert ranking.usage.prompt_tokens == tokens


def test_the_model_runs_forward_once_a_window(smollm2, monkeypatch):
    from transformers import LlamaForCausalLM

    lengths = []
    forward = LlamaForCausalLM.forward

    def counted(model, **kwargs):
        lengths.append(kwargs["input_ids"].shape)
        return forward(model, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", counted)
    strategy = SlidingWindow(inner=SingleToken(), size=4, stride=2)
    ranking = Reranker(strategy, smollm2).rank(QUERY, TEXTS)
    assert len(lengths) == ranking.usage.calls == 3
    assert sum(rows * length for rows, length in lengths) == ranking.usage.prompt_tokens


@pytest.mark.parametrize("size", [2, 10, 20, 26])
def test_on_real_windows_of_dl19(data, smollm2, smollm2_folder, size):
    collection = load_collection(data / "beir" / "dl19")
    run = load_run(data / "beir" / "dl19" / "runs" / "bm25.trec.gz", depth=size)
    query = next(iter(run))
    # Plain ASCII and short: what ftfy, escaping and the word limit leave alone.
    texts = [t.encode("ascii", "ignore").decode() for t in run_passages(collection, run, query)]
    texts = [" ".join(t.replace("[", "(").replace("]", ")").split()[:40]) for t in texts]
    order, logprobs, _ = by_definition(smollm2_folder, collection.queries[query], texts)
    ranking = Reranker(SingleToken(), smollm2).rank(collection.queries[query], texts)
    assert list(ranking.order) == order
    assert ranking.scores == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize(
    "strategy", [SlidingWindow(inner=SingleToken(), size=4, stride=2), QueryLikelihood()]
)
def test_every_way_to_run_gives_identical_rankings(smollm2, strategy):
    reranker = Reranker(strategy, smollm2)
    requests = [(QUERY, TEXTS), ("wolves", TEXTS[:5]), ("shares", TEXTS[2:])]

    expected = [reranker.rank(q, t) for q, t in requests]

    def check(rankings, wanted=expected):
        assert [r.order for r in rankings] == [w.order for w in wanted]
        for found, right in zip(rankings, wanted, strict=True):
            # what shares a batch changes the order of the sums
            assert found.scores == pytest.approx(right.scores, abs=1e-4)

    check(reranker.rank_many(requests))
    check(asyncio.run(reranker.arank_many(requests)))

    async def one_by_one():
        return [await reranker.arank(q, t) for q, t in requests]

    check(asyncio.run(one_by_one()))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: reranker.rank(*requests[i % 3]), range(8)))
    check(found, [expected[i % 3] for i in range(8)])


def test_identical_passages_tie_and_keep_their_order(smollm2):
    texts = [TEXTS[1], TEXTS[0], TEXTS[1], TEXTS[0]]
    assert Reranker(QueryLikelihood(), smollm2).rank(QUERY, texts).order == (1, 3, 0, 2)


def test_query_likelihood_knows_what_the_text_is_about(smollm2):
    ranking = Reranker(QueryLikelihood(), smollm2).rank(QUERY, TEXTS)
    assert ranking.order[0] == 0
    assert set(ranking.order[-3:]) == {1, 3, 5}
    assert all(score < 0 for score in ranking.scores)


def test_query_likelihood_equals_its_definition(smollm2, smollm2_folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    model = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32).eval()
    ranking = Reranker(QueryLikelihood(), smollm2).rank(QUERY, TEXTS[:2])
    for i, score in zip(ranking.order, ranking.scores, strict=True):
        head = f"Passage: {TEXTS[i]}\nPlease write a question based on this passage.\nQuestion:"
        start = len(tokenizer(head).input_ids)
        ids = tokenizer(f"{head} {QUERY}", return_tensors="pt").input_ids
        with torch.inference_mode():
            logprobs = model(ids).logits[0].log_softmax(-1)
        each = [float(logprobs[j - 1, ids[0, j]]) for j in range(start, ids.shape[1])]
        assert score == pytest.approx(sum(each) / len(each), abs=1e-4)


def test_generation_gives_a_permutation_whatever_it_writes(smollm2):
    ranking = Reranker(Permutation(max_tokens=20), smollm2).rank(QUERY, TEXTS[:4])
    assert sorted(ranking.order) == [0, 1, 2, 3]
    assert 1 <= ranking.usage.generated_tokens <= 20


def test_a_cached_window_costs_nothing(smollm2):
    reranker = Reranker(SingleToken(), cached(smollm2))
    first, second = (reranker.rank(QUERY, TEXTS[:3]) for _ in range(2))
    assert first.order == second.order
    assert (first.usage.prompt_tokens > 0, second.usage.prompt_tokens) == (True, 0)
