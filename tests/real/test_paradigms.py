"""Every paradigm on a real language model."""

import math

import pytest

from rerank_plugins import Reranker
from rerank_plugins.calls import Identifier
from rerank_plugins.strategies import (
    Cascade,
    Consensus,
    ConstrainedPermutation,
    FullList,
    Groupwise,
    Hybrid,
    Pairwise,
    Permutation,
    Pointwise,
    PointwiseGrade,
    QueryLikelihood,
    Setwise,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
)

QUERY = "how long is the life cycle of a flea"
TEXTS = [
    "Wolves live in packs and hunt together.",
    "The life cycle of a flea can last anywhere from 20 days to an entire year.",
    "The stock exchange opened higher on Monday.",
    "Adult fleas can live for several months without eating.",
    "A cat sleeps up to sixteen hours a day.",
]
WINDOW = {"size": 3, "stride": 1}
STRATEGIES = {
    "full list, one token": FullList(read="single-token"),
    "full list, constrained": FullList(read="constrained", top_m=3),
    "full list, written": FullList(top_m=2),
    "reasoning": Permutation(prompt="reasonrank.v1", max_tokens=60),
    "conversation": Permutation(prompt="dear-listwise.v1", max_tokens=40),
    "groupwise": Groupwise(size=3, interval=2, max_tokens=60),
    "yes or no": Pointwise(prompt="yes-no.v1"),
    "qwen3": Pointwise(),
    "grade": PointwiseGrade(prompt="grades.v1"),
    "expected grade": PointwiseGrade(prompt="grades.v1", expectation=True),
    "expected grade over two tokens": PointwiseGrade(expectation=True, max_tokens=40),
    "likelihood": QueryLikelihood(),
    "setwise": Setwise(top_m=2),
    "setwise bubble": Setwise(method="bubble", top_m=2),
    "setwise, reasoning": Setwise(
        prompt="rank-r1.v1", answer="written", others=4, top_m=1, max_tokens=40
    ),
    "pairs": Pairwise(aggregate="path"),
    "cascade": Cascade(first=QueryLikelihood(), then=SingleToken(), depth=3),
    "consensus": Consensus(SingleToken(), passes=3),
    "sliding window": SlidingWindow(SingleToken(), passes=2, **WINDOW),
    "top-down": TopDown(SingleToken(), size=4, top_m=2),
    "tournament": Tournament(SingleToken(), size=3),
    "hybrid": Hybrid(Pointwise(prompt="yes-no.v1")),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_ranks_with_a_real_model(name, smollm2):
    reranker = Reranker(STRATEGIES[name], smollm2)
    ranking = reranker.rank(QUERY, TEXTS)
    assert sorted(ranking.order) == list(range(len(TEXTS)))
    assert all(map(math.isfinite, ranking.scores))
    assert ranking.usage.calls
    again = reranker.rank(QUERY, TEXTS)
    assert (again.order, again.scores, again.report) == (
        ranking.order,
        ranking.scores,
        ranking.report,
    )


def test_a_hundred_passages_in_one_forward_pass(smollm2, monkeypatch):
    """One call, one pass, nothing generated; a hundred labels, each one token, all distinct."""
    smollm2.warm_up()
    engine = smollm2._loaded
    passes = []
    forward = engine.model.forward

    def counted(*args, **kwargs):
        passes.append(kwargs["input_ids"].shape)
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", counted)
    passages = [f"Passage about topic number {i}, in a few words." for i in range(100)]
    ranking = Reranker(FullList(read="single-token"), smollm2).rank("topic number 7", passages)
    assert sorted(ranking.order) == list(range(100))
    assert (ranking.usage.calls, ranking.usage.batches) == (1, 1)
    assert ranking.usage.generated_tokens == 0
    assert len(passes) == 1
    assert passes[0][1] == ranking.usage.prompt_tokens
    assert len(set(ranking.scores)) > 90
    assert ranking.report.unseen_labels == 0

    from rerank_plugins.prompts import load_prompt

    prompt, _ = load_prompt("full-list-tokens.v1").render("topic number 7", passages)
    names = tuple(Identifier(i).text for i in range(100))
    spelled = engine.renderer.spellings(prompt, names)
    ids = engine.renderer.labels(prompt, names, engine.renderer.encode(prompt).text).values()
    assert len(set(ids)) == 100
    tokenizer = engine.renderer.tokenizer
    for spelling, token in zip(spelled, ids, strict=True):
        after = tokenizer("[" + spelling, add_special_tokens=False)["input_ids"]
        assert after == [*tokenizer("[", add_special_tokens=False)["input_ids"], token]
        assert f"\n[{spelling}] Passage about" in engine.renderer.encode(prompt).text


def test_a_constrained_answer_is_the_greedy_one_where_that_is_valid(smollm2):
    """Step by step and without a constraint: the same, as long as the model repeats nothing."""
    texts = TEXTS[:4]
    constrained = Reranker(ConstrainedPermutation(prompt="first.v1"), smollm2)
    written = Reranker(Permutation(prompt="first.v1", max_tokens=40), smollm2)
    ours, theirs = constrained.rank(QUERY, texts), written.rank(QUERY, texts)
    assert sorted(ours.order) == list(range(4))
    report = theirs.report
    if not (report.malformed or report.missing or report.duplicates or report.out_of_range):
        assert ours.order == theirs.order
    else:  # then only the valid beginning can be compared
        assert ours.order[0] == theirs.order[0]


def test_query_and_passage_decide_a_real_yes_or_no(smollm2):
    """A small model does not rerank well, but the log-odds are those of its own distribution."""
    import torch

    strategy = Pointwise(prompt="yes-no.v1")
    ranking = Reranker(strategy, smollm2).rank(QUERY, TEXTS[:1])
    from rerank_plugins.prompts import load_prompt

    prompt, _ = load_prompt("yes-no.v1").render(QUERY, TEXTS[0])
    ids = torch.tensor([smollm2.token_ids(prompt)])
    with torch.inference_mode():
        logits = smollm2._loaded.model(ids).logits[0, -1]
    yes, no = smollm2._loaded.renderer.tokenizer.convert_tokens_to_ids(["Yes", "No"])
    assert ranking.scores[0] == pytest.approx(float(logits[yes] - logits[no]), abs=1e-3)
    assert ranking.score_kind == "logit"
