"""Lists that share their passages: one forward pass, the same losses."""

from functools import partial

import pytest
import torch

from rerank_plugins.backends._prompts.renderer import Renderer
from rerank_plugins.strategies import Permutation, SingleToken
from rerank_plugins.training import (
    Objective,
    TrainingList,
    TrainingOptions,
    _batches,
    train,
)
from rerank_plugins.training._batches import (
    MODEL_INPUTS,
    Collator,
)
from rerank_plugins.training._encoding import PromptEncoder
from rerank_plugins.training._objectives import DEFAULTS, batch_loss

TEXTS = ("a dog sleeps all day", "the flea lives two months", "a wolf hunts", "the sea")
QUERIES = ("how long lives a flea?", "who sleeps?", "what hunts in packs, and where?")


def lists(texts=TEXTS, queries=QUERIES):
    return [
        TrainingList(query, texts, tuple(float((i + k) % 4) for i in range(len(texts))))
        for k, query in enumerate(queries)
    ]


def loss_of(model, strategy, grouped, tokenizer, kind="listwise"):
    """The loss and the gradient of the embeddings."""
    encode = PromptEncoder(strategy, Renderer(tokenizer), 8192)
    batch = Collator(tokenizer.pad_token_id)([[encode(row) for row in g] for g in grouped])
    model.zero_grad()
    logits = model(**{k: v for k, v in batch.items() if k in MODEL_INPUTS}).logits
    loss = batch_loss(kind, DEFAULTS[kind], logits, batch)
    loss.backward()
    return loss.item(), model.get_input_embeddings().weight.grad.clone(), batch


@pytest.mark.parametrize("name", ["short-letters.v1", "first.v1"])
def test_packed_and_alone_have_the_same_loss_and_gradient(name, tiny_model, tokenizer):
    """Also where nothing but the instruction is shared (first.v1 has the query first)."""
    rows = lists()
    other = lists(TEXTS[::-1], QUERIES[:2])
    run = partial(loss_of, tiny_model, SingleToken(prompt=name))
    alone, gradient, _ = run([[row] for row in rows + other], tokenizer)
    together, same, batch = run([rows, other], tokenizer)
    assert batch["input_ids"].shape[0] == 1
    assert together == pytest.approx(alone, rel=1e-5)
    assert torch.allclose(same, gradient, atol=1e-4 * gradient.abs().max())


def test_written_orders_too(tiny_model, tokenizer):
    rows = lists()
    run = partial(loss_of, tiny_model, Permutation(prompt="rankzephyr.v1"))
    alone, _, _ = run([[row] for row in rows], tokenizer, kind="written")
    together, _, _ = run([rows], tokenizer, kind="written")
    assert together == pytest.approx(alone, rel=1e-5)


def test_it_saves_what_is_shared(tokenizer, tiny_model):
    rows = lists()
    strategy = SingleToken(prompt="short-letters.v1")
    *_, batch = loss_of(tiny_model, strategy, [rows], tokenizer)
    encode = PromptEncoder(strategy, Renderer(tokenizer), 8192)
    whole = sum(len(encode(row).rows[0].ids) for row in rows)
    assert batch["input_ids"].shape[1] < 0.8 * whole


@pytest.mark.parametrize(("prompt", "packs"), [("short-letters.v1", 2), ("first.v1", 0)])
def test_training_packs_where_prompts_share_most(
    prompt, packs, llama_folder, tmp_path, monkeypatch
):
    """first.v1 has the query first: packed, its lists are one long sequence."""
    seen, real = [], _batches.pack
    monkeypatch.setattr(_batches, "pack", lambda groups: seen.append(groups) or real(groups))
    options = TrainingOptions(epochs=1, shuffle=False, objective=Objective(lm_weight=0.0))
    rows = lists(tuple(f"{text} , {text}" for text in TEXTS)) + lists(TEXTS[::-1])
    train(str(llama_folder), SingleToken(prompt=prompt), rows, tmp_path / "out", options=options)
    assert len(seen) == packs


def test_queries_do_not_see_each_other(tiny_model, tokenizer):
    strategy = SingleToken(prompt="short-letters.v1")
    one = loss_of(tiny_model, strategy, [lists()[:2]], tokenizer)[2]
    other = lists(queries=(QUERIES[0], "something else entirely, and longer"))
    two = loss_of(tiny_model, strategy, [other], tokenizer)[2]
    found = []
    for batch in (one, two):
        with torch.no_grad():
            given = {k: v for k, v in batch.items() if k in MODEL_INPUTS}
            logits = tiny_model(**given).logits[0][batch["unpack"]]
        found.append(logits[0, batch["last"][0]])
    assert torch.allclose(found[0], found[1], atol=1e-4)


def test_the_objective_of_a_pack_counts_every_list(tiny_model, tokenizer):
    """With the ranking half alone: the mean over lists."""
    encode = PromptEncoder(SingleToken(prompt="short-letters.v1"), Renderer(tokenizer), 8192)
    objective = Objective(ranking="ranknet", weight=1.0, lm_weight=0.0)
    losses = []
    for grouped in ([lists()], *([[row]] for row in lists())):
        batch = Collator(tokenizer.pad_token_id)([[encode(row) for row in g] for g in grouped])
        with torch.no_grad():
            given = {k: v for k, v in batch.items() if k in MODEL_INPUTS}
            logits = tiny_model(**given).logits
            losses.append(batch_loss("listwise", objective, logits, batch).item())
    assert losses[0] == pytest.approx(sum(losses[1:]) / 3, rel=1e-5)
