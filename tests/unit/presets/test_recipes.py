"""Recipes of public checkpoints beside plain forward passes of their architectures.

The recipe is said again here, from what the authors publish: text, token, and formula.
"""

import math
from dataclasses import replace

import pytest
import tiny_models

from rerank_plugins import Reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.presets import find_preset
from rerank_plugins.registry import from_spec

QUERY = "how long do fleas live?"
PASSAGES = [
    "Adult fleas live for two to three months.",
    "Cats sleep for most of the day.",
    "See <b>[3]</b> for {braces}.",
    "Most eggs hatch within a fortnight, and a few do not. " * 6,
]


def logits(model, tokenizer, text):
    """The logits after a text: one forward pass of one sequence, nothing shared, no padding."""
    import torch

    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return model(ids).logits[0, -1].double()


def token(tokenizer, text):
    [found] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def ranked(name, kind, tokenizer):
    """The reranker of a checkpoint on a tiny model, and that model."""
    model = tiny_models.causal(kind, tokenizer)
    preset = find_preset(name)
    options = {k: v for k, v in preset["backend"].items() if k in ("chat_template",)}
    backend = TransformersBackend(model, tokenizer=tokenizer, **options)
    return Reranker(from_spec("strategies", preset["strategy"]), backend), model


def scores_of(reranker, passages):
    ranking = reranker.rank(QUERY, passages)
    return [ranking.scores[ranking.order.index(i)] for i in range(len(passages))]


def check(reranker, expected):
    """Together, and one passage at a time."""
    assert len({round(score, 3) for score in expected}) == len(PASSAGES)
    assert scores_of(reranker, PASSAGES) == pytest.approx(expected, abs=1e-4)
    alone = [scores_of(reranker, [passage])[0] for passage in PASSAGES]
    assert alone == pytest.approx(expected, abs=1e-4)


def test_mxbai_rerank_v2(tokenizer):
    def by_hand(passage):
        text = (
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            f"assistant.<|im_end|>\n<|im_start|>user\nquery: {QUERY}\ndocument: {passage}\nYou are "
            "a search relevance expert who evaluates how well documents match search queries. For "
            "each query-document pair, carefully analyze the semantic relationship between them, "
            "then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\n"
            "Relevance:<|im_end|>\n<|im_start|>assistant\n"
        )
        row = logits(model, tokenizer, text)
        return float(row[token(tokenizer, "1")] - row[token(tokenizer, "0")])

    reranker, model = ranked("mxbai-rerank-base-v2", "qwen2", tokenizer)
    check(reranker, [by_hand(passage) for passage in PASSAGES])


def test_ctxl_rerank_v2(tokenizer):
    def by_hand(passage):
        text = (
            "Check whether a given document contains information helpful to answer the query.\n"
            f"<Document> {passage}\n<Query> {QUERY} ??"
        )
        return float(logits(model, tokenizer, text)[token(tokenizer, "!")])

    reranker, model = ranked("ctxl-rerank-v2-instruct-multilingual-1b", "qwen3", tokenizer)
    check(reranker, [by_hand(passage) for passage in PASSAGES])


@pytest.mark.parametrize("name", ["zerank-2", "zerank-1-small"])
def test_zerank(tokenizer, name):
    def by_hand(passage):
        text = (
            f"<|im_start|>system\n{QUERY}<|im_end|>\n<|im_start|>user\n{passage}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        logit = float(logits(model, tokenizer, text)[token(tokenizer, "Yes")])
        return 1 / (1 + math.exp(-logit / 5))

    reranker, model = ranked(name, "qwen3", tokenizer)
    check(reranker, [by_hand(passage) for passage in PASSAGES])
    assert reranker.rank(QUERY, PASSAGES).score_kind == "probability"


def test_bge_reranker_v2_gemma(tokenizer):
    def by_hand(passage):
        text = (
            f"A: {QUERY}\nB: {passage}\nGiven a query A and a passage B, determine whether the "
            "passage contains an answer to the query by providing a prediction of either 'Yes' or "
            "'No'."
        )
        return float(logits(model, tokenizer, text)[token(tokenizer, "Yes")])

    reranker, model = ranked("bge-reranker-v2-gemma", "gemma", tokenizer)
    check(reranker, [by_hand(passage) for passage in PASSAGES])


def test_rank1(tokenizer):
    """The model writes a reasoning, and the words after it are compared."""
    import torch

    def by_hand(passage):
        text = (
            "Determine if the following passage is relevant to the query. Answer only with 'true' "
            f"or 'false'.\nQuery: {QUERY}\nPassage: {passage}\n<think>"
        )
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            new = model.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :]
        written = tokenizer.decode(new, skip_special_tokens=True)
        if tokenizer.eos_token_id not in new.tolist():  # it was cut: after the last sentence
            end = max(map(written.rfind, ".!?")) + 1
            written = "\n" + (written[:end] or written).strip() + "\n"
        row = logits(model, tokenizer, text + written + "</think>")
        yes, no = (math.exp(float(row[token(tokenizer, f" {w}")])) for w in ("true", "false"))
        return yes / (yes + no)

    reranker, model = ranked("rank1-0.5b", "qwen2", tokenizer)
    short = replace(reranker.strategy, max_tokens=5)
    scores = scores_of(Reranker(short, reranker.backend), PASSAGES)
    probabilities = [1 / (1 + math.exp(-score)) for score in scores]
    assert probabilities == pytest.approx([by_hand(passage) for passage in PASSAGES], abs=1e-4)
