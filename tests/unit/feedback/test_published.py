"""The published recipes, against PyTorch."""

import numpy as np
import pytest

from rerank_plugins import InputError
from rerank_plugins.feedback import refine_query
from rerank_plugins.feedback._refine.opinion import mean_ranks
from rerank_plugins.feedback._refine.published import adam, softmax_kl, weighted_ranknet


def problem(seed, n=30, dim=16, noise=0.5):
    """A query, passages, and a reranker that knows what the user means."""
    rng = np.random.default_rng(seed)
    query, passages = rng.normal(size=dim), rng.normal(size=(n, dim))
    hidden = query + rng.normal(size=dim)
    return query, passages, passages @ hidden + noise * rng.normal(size=n), hidden


def torch_adam(loss, start, rate, steps):
    import torch

    query = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([query], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(query).backward()
        optimiser.step()
    return query.detach().numpy()


def torch_refit(query, passages, scores):
    """Stage 1 of the authors' distillation script: KLDivLoss with a log target."""
    import torch

    vectors = torch.tensor(passages, dtype=torch.float64)
    teacher = torch.log_softmax(torch.tensor(scores, dtype=torch.float64), dim=0)
    student = passages @ query
    scale = (scores.max() - scores.min()) / (student.max() - student.min()) / 2
    kl = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)

    def loss(q):
        return kl(torch.log_softmax(scale * (vectors @ q), dim=0)[None], teacher[None])

    return torch_adam(loss, query, 0.005, 100)


def torch_ranknet(start, passages, ranks, target_range):
    """Stage 2: weighted RankNet through binary cross-entropy with logits."""
    import torch

    vectors = torch.tensor(passages, dtype=torch.float64)
    student = passages @ start
    scale = target_range / (student.max() - student.min()) / 2
    pairs = [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]
    better, worse = (torch.tensor(side) for side in zip(*pairs, strict=True))
    weight = torch.tensor([1 / (ranks[i] + ranks[j]) for i, j in pairs], dtype=torch.float64)
    bce = torch.nn.BCEWithLogitsLoss(weight=weight)

    def loss(q):
        s = scale * (vectors @ q)
        return bce(s[better] - s[worse], torch.ones(len(pairs), dtype=torch.float64))

    return torch_adam(loss, start, 0.001, 20)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "dim"), [(2, 8), (20, 4), (30, 64)])
def test_refit_is_the_published_recipe(seed, n, dim):
    query, passages, scores, _ = problem(seed, n, dim)
    expected = torch_refit(query, passages, scores)
    found = refine_query(query, passages, scores, method="refit")
    assert np.abs(found.vector - expected).max() < 1e-5
    assert found.loss_after < found.loss_before


@pytest.mark.parametrize("seed", range(5))
def test_first_is_the_published_second_stage_on_an_order(seed):
    query, passages, scores, _ = problem(seed, 25, 12)
    order = np.argsort(-scores)
    ranks = np.empty(25)
    ranks[order] = np.arange(1.0, 26)
    expected = torch_ranknet(query, passages, ranks, np.ptp(passages @ query))
    assert (
        np.abs(refine_query(query, passages, order=order, method="first").vector - expected).max()
        < 1e-5
    )
    # Scores of a language model count by their order.
    by_score = refine_query(query, passages, 1000 * scores, method="first")
    assert np.abs(by_score.vector - expected).max() < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_first_runs_both_stages_where_it_has_scores_and_an_order(seed):
    query, passages, scores, _ = problem(seed, 20, 12)
    order = np.random.default_rng(seed).permutation(20)
    ranks = np.empty(20)
    ranks[order] = np.arange(1.0, 21)
    between = torch_refit(query, passages, scores)
    expected = torch_ranknet(between, passages, ranks, np.ptp(passages @ query))
    found = refine_query(query, passages, scores, order=order, method="first")
    assert np.abs(found.vector - expected).max() < 1e-5


def test_tied_scores_make_no_pair():
    query, passages, _, _ = problem(0, 4, 6)
    ranks = np.array([1.5, 1.5, 3.0, 4.0])
    expected = torch_ranknet(query, passages, ranks, np.ptp(passages @ query))
    found = refine_query(query, passages, [3.0, 3.0, 2.0, 1.0], method="first")
    assert np.abs(found.vector - expected).max() < 1e-5


def test_passages_that_were_not_reranked_are_left_out_of_the_published_recipes():
    query, passages, scores, _ = problem(1, 30)
    part = np.where(np.arange(30) < 12, scores, np.nan)
    for method in ("refit", "first"):
        if method == "refit":
            expected = torch_refit(query, passages[:12], scores[:12])
        else:
            ranks = mean_ranks(scores[None, :12])[0]
            expected = torch_ranknet(query, passages[:12], ranks, np.ptp(passages[:12] @ query))
        found = refine_query(query, passages, part, method=method)
        assert np.abs(found.vector - expected).max() < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_gradients_agree_with_finite_differences(seed):
    query, passages, scores, _ = problem(seed, 9, 5)
    target = np.exp(scores - np.logaddexp.reduce(scores))
    objectives = [
        lambda q: softmax_kl(q, passages, target, 0.7),
        lambda q: weighted_ranknet(q, passages, mean_ranks(scores[None])[0], 0.7),
    ]
    for objective in objectives:
        _, gradient = objective(query)
        for i, unit in enumerate(np.eye(5) * 1e-6):
            slope = (objective(query + unit)[0] - objective(query - unit)[0]) / 2e-6
            assert abs(slope - gradient[i]) < 1e-6


def test_objectives_at_their_minimum_and_of_nothing():
    query, passages, _, _ = problem(0, 6, 4)
    logits = 0.3 * passages @ query
    loss, gradient = softmax_kl(query, passages, np.exp(logits - np.logaddexp.reduce(logits)), 0.3)
    assert abs(loss) < 1e-12
    assert np.abs(gradient).max() < 1e-12
    assert weighted_ranknet(query, passages, np.ones(6))[0] == 0
    with pytest.raises(InputError, match="distribution"):
        softmax_kl(query, passages, np.ones(6))
    with pytest.raises(InputError, match="shape"):
        weighted_ranknet(query, passages, np.ones(5))


def test_adam_is_pytorchs():
    import torch

    scales = np.array([1.0, 10.0, 1e-12])

    def loss(x):
        return ((x - 1) ** 2 * torch.tensor(scales)).sum()

    found = adam(lambda x: (0.0, 2 * (x - 1) * scales), np.zeros(3), rate=0.01, steps=50)
    assert np.abs(found - torch_adam(loss, np.zeros(3), 0.01, 50)).max() < 1e-9


def test_numbers_too_large_for_the_published_recipes_are_no_result():
    query, passages, scores, _ = problem(0, 10, 4)
    for method in ("refit", "first"):
        found = refine_query(query, 1e200 * passages, 1e200 * scores, method=method)
        assert np.isfinite(found.vector).all()
    assert "too large" in refine_query(1e200 * query, passages, scores, method="refit").skipped
    assert "too large" in refine_query(query, 1e200 * passages, scores, method="first").skipped
    assert refine_query(query, 1e200 * passages, 1e200 * scores).skipped == ""
