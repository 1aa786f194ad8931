"""Losses from a teacher: what is particular to each."""

import numpy as np
import pytest
import torch
from loss_definitions import double, logsumexp, softmax
from scipy.linalg import sqrtm

from rerank_plugins.errors import InputError
from rerank_plugins.training.losses import (
    hybrid_distillation,
    kl_distillation,
    list_mle,
    plackett_luce_distillation,
    wasserstein,
)


def test_pld_with_all_weight_on_the_label_is_cross_entropy():
    scores = double([[0.3, 1.0, -2.0, 0.4]])
    teacher = double([[0.0, 1.0, 1e4, 2.0]])
    found = plackett_luce_distillation(scores, double([[0, 0, 1, 0]]), teacher)
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([2]))
    assert found.item() == pytest.approx(expected.item())


def test_pld_with_equal_weights_is_list_mle():
    scores, labels = double([[0.3, 1.0, -2.0, 0.4]]), double([[2, 0, 3, 1]])
    found = 4 * plackett_luce_distillation(scores, labels, labels, temperature=1e12)
    assert found.item() == pytest.approx(list_mle(scores, labels).item())


def test_pld_puts_the_label_before_what_the_teacher_prefers():
    scores, teacher = double([[0.3, 1.0, -2.0]]), double([[1.0, 3.0, 2.0]])
    alpha = softmax([1.0, 3.0, 2.0])
    expected = alpha[0] * (logsumexp([0.3, 1.0, -2.0]) - 0.3)
    expected += alpha[1] * (logsumexp([1.0, -2.0]) - 1.0)
    found = plackett_luce_distillation(scores, double([[1, 0, 0]]), teacher)
    assert found.item() == pytest.approx(expected)


def test_pld_learns_from_a_teacher_where_no_passage_is_labelled():
    scores, teacher = double([[0.3, 1.0, -2.0]]), double([[1.0, 3.0, 2.0]])
    without = plackett_luce_distillation(scores, double([[0, 0, 0]]), teacher)
    assert without == plackett_luce_distillation(scores, double([[0, 1, 0]]), teacher)


@pytest.mark.parametrize("main", ["cross_entropy", "ranknet", "mixed"])
def test_dear_is_its_published_computation(main):
    """As ``pointwise_reranker/modeling.py`` computes it: the positive is at index 0."""
    s, t = double([[0.3, 1.0, -2.0], [0.1, 0.2, 0.4]]), double([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0]])
    upper = torch.ones(2, 3, 3, dtype=torch.bool).triu(1)
    differences = lambda x: (x.unsqueeze(2) - x.unsqueeze(1))[upper]  # noqa: E731
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    positive = double([[1, 0, 0], [1, 0, 0]])
    entropy = torch.nn.functional.cross_entropy(s, torch.tensor([0, 0]))
    expected = {
        "cross_entropy": entropy,
        "ranknet": binary(differences(s), differences(t).sigmoid()),
        "mixed": (entropy + binary(differences(s), differences(positive).sigmoid())) / 2,
    }[main]
    divergence = torch.nn.functional.kl_div(
        (s / 3).log_softmax(1), (t / 3).softmax(1), reduction="batchmean"
    )
    found = hybrid_distillation(s, positive, t, temperature=3.0, alpha=0.25, main=main)
    assert found.item() == pytest.approx((0.75 * expected + 0.25 * 9 * divergence).item())


def test_kl_is_zero_at_the_teacher_and_not_below():
    teacher = double([[0.3, 1.0, -2.0]])
    assert kl_distillation(teacher + 5, teacher, temperature=0.7).item() == pytest.approx(0)


def gaussian_distance(p, q):
    """By the matrix square root itself."""
    c_p, c_q = np.cov(p, rowvar=False), np.cov(q, rowvar=False)
    half = sqrtm(c_p + 1e-14 * np.eye(len(c_p))).real
    cross = sqrtm(half @ c_q @ half + 1e-14 * np.eye(len(c_p))).real
    apart = ((p.mean(0) - q.mean(0)) ** 2).sum()
    return apart + np.trace(c_p + c_q - 2 * cross)


@pytest.mark.parametrize(("queries", "passages"), [(8, 4), (4, 8), (5, 5), (2, 6)])
def test_wasserstein_is_the_distance_of_gaussians(queries, passages):
    torch.manual_seed(queries)
    scores = torch.randn(queries, passages, dtype=torch.float64)
    labels = torch.randint(0, 4, (queries, passages))
    expected = gaussian_distance(
        (scores / 0.5).softmax(1).numpy(), labels.double().softmax(1).numpy()
    )
    found = wasserstein(scores, labels, temperature=0.5).item()
    assert found == pytest.approx(expected, abs=5e-6)
    assert found > 1e-3


def test_wasserstein_is_the_published_computation():
    """Eigenvalues of ``M = K K^T``, as ``WS2Loss`` has it, with labels on the diagonal."""
    torch.manual_seed(0)
    scores, labels = torch.randn(3, 6, dtype=torch.float64), double([[3, 0], [2, 1], [1, 0]])
    p, q = scores.softmax(1), torch.block_diag(*labels).softmax(1)
    p_centred, q_centred = (p - p.mean(0)) / 2**0.5, (q - q.mean(0)) / 2**0.5
    k = p_centred @ q_centred.T
    roots = (torch.linalg.eigvals(k @ k.T) + 1e-15).sqrt().abs().sum()
    trace = p_centred.square().sum() + q_centred.square().sum()
    expected = (p.mean(0) - q.mean(0)).square().sum() + trace - 2 * roots
    # it has an eigenvalue of 0, which eigvals finds up to 1e-17 and the root up to 1e-9
    assert wasserstein(scores, labels).item() == pytest.approx(expected.item(), abs=1e-8)


def test_wasserstein_has_finite_gradients_where_covariances_are_singular():
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (3, 2)).double()
    scores = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: wasserstein(s, labels), scores, atol=1e-5)
    for flat in (torch.zeros(3, 6), torch.full((3, 6), 1e4), torch.eye(3, 6) * 1e4):
        flat.requires_grad_()
        loss = wasserstein(flat, labels)
        loss.backward()
        assert loss.isfinite()
        assert flat.grad.isfinite().all()
        assert loss.dtype == torch.float32


def test_wasserstein_of_one_query_is_the_distance_of_means():
    scores, labels = double([[0.5, 1.0]]), double([[1.0, 0.0]])
    expected = (scores.softmax(1) - labels.softmax(1)).square().sum()
    assert wasserstein(scores, labels).item() == pytest.approx(expected.item(), abs=1e-6)


def test_wasserstein_falls_under_descent():
    torch.manual_seed(0)
    labels = double([[3, 0], [2, 1], [3, 1]])
    scores = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.1)
    before = wasserstein(scores, labels).item()
    for _ in range(300):
        optimizer.zero_grad()
        wasserstein(scores, labels).backward()
        optimizer.step()
    assert wasserstein(scores, labels).item() < 0.01 * before


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 2, 2)])
def test_wasserstein_refuses_labels_of_other_shapes(shape):
    with pytest.raises(InputError, match="labels has shape"):
        wasserstein(torch.zeros(2, 4), torch.zeros(shape))
    with pytest.raises(InputError, match="scores has shape"):
        wasserstein(torch.zeros(0, 4), torch.zeros(0, 4))
