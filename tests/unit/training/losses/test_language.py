"""Losses over tokens: by hand, and as the published codes compute them."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_definitions import double, logsumexp, scores_of, softplus, some

from rerank_plugins.errors import InputError, UnknownNameError
from rerank_plugins.training.losses import (
    first,
    identifier_ranks,
    importance_aware_lm,
    importance_weights,
    language_model,
    pair_and_list,
    ranknet,
)


def nll(logits, target):
    return logsumexp(logits) - logits[target]


def test_the_language_model_loss_is_the_mean_over_the_batch_s_tokens():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, dtype=torch.float64)
    targets = torch.tensor([[1, 4, 0], [-100, 2, 3]])
    where = torch.tensor([[True, True, True], [True, True, False]])
    at = [(0, 0), (0, 1), (0, 2), (1, 1)]
    expected = sum(nll(logits[i, j].tolist(), targets[i, j].item()) for i, j in at) / 4
    assert language_model(logits, targets, where).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [language_model, importance_aware_lm])
def test_what_is_no_target_has_no_influence_on_tokens(loss):
    logits = torch.zeros(1, 3, 4, dtype=torch.float64)
    logits[0, 0], logits[0, 2] = math.nan, math.inf
    logits.requires_grad_()
    targets, more = torch.tensor([[-100, 1, 2]]), {}
    if loss is importance_aware_lm:
        more["ranks"] = torch.tensor([[0, 1, 2]])
    weight = 2 if more else 1
    found = loss(logits, targets, **more, where=torch.tensor([[True, True, False]]))
    found.backward()
    assert found.item() == pytest.approx(math.log(4) * weight)
    assert (logits.grad[0, [0, 2]] == 0).all()
    expected = [weight * (0.25 - (token == 1)) for token in range(4)]
    assert logits.grad[0, 1].tolist() == pytest.approx(expected)


def test_no_target_at_all_is_zero():
    logits = torch.zeros(1, 2, 4, requires_grad=True)
    loss = language_model(logits, torch.full((1, 2), -100))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_tokens_are_computed_in_single_precision_and_gradients_are_right():
    torch.manual_seed(0)
    targets, ranks = torch.tensor([[1, 3, 0]]), torch.tensor([[1, 0, 2]])
    logits = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: importance_aware_lm(x, targets, ranks), logits)
    assert language_model(logits.bfloat16(), targets).dtype == torch.float32
    assert language_model(logits * 1e4, targets).isfinite()


def test_importance_aware_loss_by_hand():
    """Two tokens for rank 1, a separator, a token for rank 2 and the end, which goes with it."""
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 7, dtype=torch.float64)
    targets = torch.tensor([[3, 1, 6, 2, 0]])
    ranks = identifier_ranks(targets, separator=6)
    assert ranks.tolist() == [[1, 1, 0, 2, 2]]
    weights = [2, 2, 1, 1 + 1 / math.log2(3), 1 + 1 / math.log2(3)]
    assert importance_weights(ranks)[0].tolist() == pytest.approx(weights)
    each = [nll(logits[0, t].tolist(), targets[0, t].item()) for t in range(5)]
    expected = sum(w * loss for w, loss in zip(weights, each, strict=True)) / 5
    assert importance_aware_lm(logits, targets, ranks).item() == pytest.approx(expected, rel=1e-6)


def test_pair_and_list_are_summed_each_with_its_own_mean():
    torch.manual_seed(0)
    pair, many = torch.randn(4, 1, 5), torch.randn(1, 3, 5)
    yes_no, answer = torch.tensor([[0], [1], [0], [1]]), torch.tensor([[2, 3, 4]])
    expected = language_model(pair, yes_no) + language_model(many, answer)
    assert pair_and_list(pair, yes_no, many, answer) == expected
    assert pair_and_list(pair, yes_no, many, answer) != pair_and_list(many, answer, many, answer)


@pytest.mark.parametrize(
    "loss", [language_model, partial(importance_aware_lm, ranks=torch.zeros(1, 2))]
)
def test_wrong_shapes_of_tokens_are_refused(loss):
    with pytest.raises(InputError, match="logits has shape"):
        loss(torch.zeros(1, 3, 4), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(InputError, match="where has shape"):
        loss(torch.zeros(1, 2, 4), torch.zeros(1, 2, dtype=torch.long), where=torch.ones(1, 2))


def test_ranks_of_tokens_of_another_shape_are_refused():
    with pytest.raises(InputError, match="ranks has shape"):
        importance_aware_lm(torch.zeros(1, 2, 4), torch.zeros(1, 2).long(), torch.zeros(1, 3))


def published_nll(logits, targets):
    """Mean over the target tokens of the batch."""
    log_probs = -logits.log_softmax(-1)
    padding = targets.eq(-100)
    each = log_probs.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return each.masked_fill(padding, 0.0).sum() / (padding.numel() - padding.sum())


def published_rank_loss(scores, order, loss, weighted=False):
    """``order``: the rank of each passage from 0. The labels are the own logits, sorted."""
    labels = scores.sort(descending=True).values[order]
    n = range(len(scores))
    chosen = [(i, j) for i in n for j in n if labels[i] > labels[j]]
    if loss == "ranknet":
        gaps = torch.stack([scores[i] - scores[j] for i, j in chosen])
        weight = double([1 / (order[i] + order[j] + 2) for i, j in chosen]) if weighted else None
        return torch.nn.BCEWithLogitsLoss(weight=weight)(gaps, torch.ones_like(gaps))
    if loss == "listnet":
        return -(labels.softmax(0) * (scores.softmax(0) + 1e-10).log()).sum()
    by_score = scores.argsort(descending=True)
    place = by_score.argsort()
    gains = 2 ** labels.clamp(min=0) - 1
    discounts = [math.log2(2 + k) for k in n]
    best = sum(gains.sort(descending=True).values[k] / discounts[k] for k in n).clamp(min=1e-10)
    found = []
    for i, j in chosen:
        d = abs(place[i].item() - place[j].item())
        weight = abs(1 / discounts[d - 1] - 1 / discounts[d]) * abs(gains[i] - gains[j]) / best
        found.append(-torch.log2(torch.sigmoid(scores[i] - scores[j]) ** weight))
    return torch.stack(found).mean()


def test_the_joint_loss_by_hand():
    """Three passages, C best, then A, then B; a text of two tokens out of four."""
    scores, ranks = double([[1.0, 0.0, 2.0]]), torch.tensor([[2, 3, 1]])
    logits = torch.log(double([[[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]]))
    likelihood = -(math.log(0.3) + math.log(0.25)) / 2
    # C over A: ranks 1 + 2, gap 1; C over B: 1 + 3, gap 2; A over B: 2 + 3, gap 1
    ranking = (softplus(-1) / 3 + softplus(-2) / 4 + softplus(-1) / 5) / 3
    found = first(scores, ranks, logits, torch.tensor([[2, 0]]))
    assert found.item() == pytest.approx(likelihood + 10 * ranking)


@pytest.mark.parametrize(
    ("name", "weight"),
    [("ranknet", 10.0), ("plain-ranknet", 1.0), ("listnet", 0.1), ("lambda", 1.0)],
)
@some
@given(st.lists(st.permutations(range(4)), min_size=1, max_size=3), st.data())
def test_the_joint_loss_is_the_published_code_s(name, weight, orders, data):
    draw = lambda: data.draw(scores_of(min_size=4, max_size=4))  # noqa: E731
    scores = double([draw() for _ in orders])
    logits = double([[draw(), draw(), draw()] for _ in orders])
    targets = torch.tensor([[1, 2, 3 if k else -100] for k in range(len(orders))])
    loss = name.removeprefix("plain-")
    ranking = sum(
        published_rank_loss(s, o, loss, name == "ranknet")
        for s, o in zip(scores, orders, strict=True)
    ) / len(orders)
    expected = published_nll(logits, targets) + weight * ranking
    ranks = torch.tensor(orders) + 1
    found = first(scores, ranks, logits, targets, rank_loss=name)
    # the published ListNet adds 1e-10 to probabilities, of which the smallest here is e^-16 / 4
    near = 1e-3 if name == "listnet" else 1e-6
    assert found.item() == pytest.approx(expected.item(), rel=near)
    wide = torch.cat([scores.new_full((len(orders), 1), math.nan), scores], dim=1)
    ranks = torch.nn.functional.pad(ranks, (1, 0))
    padded = first(wide, ranks, logits, targets, ~wide.isnan(), rank_loss=name)
    assert padded.item() == pytest.approx(found.item())


def test_the_weight_of_the_joint_loss_is_an_argument():
    scores, ranks, logits = (
        double([[0.1, 0.5]]),
        torch.tensor([[1, 2]]),
        torch.zeros(1, 1, 4).double(),
    )
    targets = torch.tensor([[3]])
    found = first(scores, ranks, logits, targets, weight=2.5)
    assert found == language_model(logits, targets) + 2.5 * ranknet(scores, ranks)
    assert first(scores, ranks, logits, targets, weight=0) == language_model(logits, targets)


def test_no_gradient_flows_through_the_labels_of_the_joint_loss():
    scores, ranks = double([[0.1, 0.5, -1.0]]), torch.tensor([[2, 3, 1]])
    logits, targets = torch.zeros(1, 1, 4).double(), torch.tensor([[3]])
    live = scores.clone().requires_grad_()
    first(live, ranks, logits, targets, rank_loss="listnet", weight=1).backward()
    labels = double([[0.1, -1.0, 0.5]])
    torch.testing.assert_close(live.grad, scores.softmax(1) - labels.softmax(1))


def test_an_unknown_ranking_loss_of_first_is_named():
    tensors = torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 1, 4), torch.zeros(1, 1).long()
    with pytest.raises(UnknownNameError, match="plain-ranknet"):
        first(*tensors, rank_loss="mse")
