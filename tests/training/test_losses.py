"""Every loss against its definition, in plain Python over pairs, places and permutations."""

import itertools
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from rerank_plugins.errors import InputError, UnknownNameError
from rerank_plugins.training import losses
from rerank_plugins.training.losses import (
    RANKING_LOSSES,
    first,
    hybrid_distillation,
    identifier_ranks,
    importance_aware_lm,
    importance_weights,
    kl_distillation,
    lambda_loss,
    language_model,
    list_mle,
    listnet,
    pair_and_list,
    plackett_luce_distillation,
    ranking_loss,
    ranknet,
    ranks_of,
    wasserstein,
    z_loss,
)

NAMES = sorted(RANKING_LOSSES)
COMPARING = sorted(set(NAMES) - {"bce"})  # the others look at one passage at a time


def double(values):
    return torch.tensor(values, dtype=torch.float64)


# The definitions: of one list, with its labels and its teacher, as Python lists.


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def softmax(values):
    top = max(values)
    exponentials = [math.exp(v - top) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def logsumexp(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def pairs(labels):
    n = range(len(labels))
    return [(i, j) for i in n for j in n if labels[i] > labels[j]]


def order(values):
    return sorted(range(len(values)), key=lambda i: -values[i])


def dense_ranks(labels):
    return [1 + len({other for other in labels if other > label}) for label in labels]


def one_ranknet(s, labels, teacher):
    r = dense_ranks(labels)
    found = [softplus(s[j] - s[i]) / (r[i] + r[j]) for i, j in pairs(labels)]
    return sum(found) / len(found)


def one_lambda(s, labels, teacher):
    place = {item: at for at, item in enumerate(order(s), start=1)}
    ideal = sum((2**y - 1) / math.log2(1 + k) for k, y in enumerate(sorted(labels)[::-1], 1))
    found = []
    for i, j in pairs(labels):
        d = abs(place[i] - place[j])
        weight = abs(1 / math.log2(1 + d) - 1 / math.log2(2 + d))
        weight *= abs(2 ** labels[i] - 2 ** labels[j]) / ideal
        found.append(weight * softplus(s[j] - s[i]) / math.log(2))
    return sum(found) / len(found)


def one_lipo(s, labels, teacher):
    place = {item: at for at, item in enumerate(order(s), start=1)}
    return sum(
        abs(2 ** labels[i] - 2 ** labels[j])
        * abs(1 / math.log(1 + place[i]) - 1 / math.log(1 + place[j]))
        * softplus(s[j] - s[i])
        for i, j in pairs(labels)
    )


def one_margin_mse(s, labels, teacher):
    every = list(itertools.combinations(range(len(s)), 2))
    return sum((s[i] - s[j] - teacher[i] + teacher[j]) ** 2 for i, j in every) / len(every)


def one_listnet(s, labels, teacher):
    return -sum(p * (v - logsumexp(s)) for p, v in zip(softmax(labels), s, strict=True))


def choice(s, i, rest):
    return logsumexp([s[i], *(s[j] for j in rest)]) - s[i]


def worse(labels, i):
    return [j for j in range(len(labels)) if labels[j] < labels[i]]


def one_list_mle(s, labels, teacher):
    return sum(choice(s, i, worse(labels, i)) for i in range(len(s)))


def one_p_list_mle(s, labels, teacher):
    n = len(s)
    return sum(
        (2 ** (n - 1 - sum(other > labels[i] for other in labels)) - 1)
        / (2 ** (n - 1) - 1)
        * choice(s, i, worse(labels, i))
        for i in range(n)
    )


def one_cross_entropy(s, labels, teacher):
    best = [i for i in range(len(s)) if labels[i] == max(labels)]
    return sum(choice(s, i, worse(labels, i)) for i in best) / len(best)


def one_pld(s, labels, teacher):
    key = [(label == max(labels), t) for label, t in zip(labels, teacher, strict=True)]
    alpha = softmax(teacher)
    return sum(alpha[i] * choice(s, i, worse(key, i)) for i in range(len(s)))


def one_kl(s, labels, teacher, temperature=1.0):
    p = softmax([t / temperature for t in teacher])
    q = softmax([v / temperature for v in s])
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def one_dear(s, labels, teacher):
    return 0.9 * one_cross_entropy(s, labels, teacher) + 0.1 * 4 * one_kl(s, labels, teacher, 2)


def one_z_loss(s, labels, teacher, a=1.0, b=1.0):
    mean = sum(s) / len(s)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in s) / len(s))
    best = [i for i in range(len(s)) if labels[i] == max(labels)]
    each = [softplus(a * (b - (s[i] - mean) / deviation)) / a for i in best]
    return sum(each) / len(each)


def one_bce(s, labels, teacher):
    each = [softplus(-v if y > 0 else v) for v, y in zip(s, labels, strict=True)]
    return sum(each) / len(each)


DEFINITIONS = {
    "bce": one_bce,
    "cross-entropy": one_cross_entropy,
    "dear": one_dear,
    "kl": one_kl,
    "lambda": one_lambda,
    "lipo-lambda": one_lipo,
    "list-mle": one_list_mle,
    "listnet": one_listnet,
    "margin-mse": one_margin_mse,
    "p-list-mle": one_p_list_mle,
    "pld": one_pld,
    "ranknet": one_ranknet,
    "z-loss": one_z_loss,
}

some = settings(max_examples=30)
grades = st.integers(0, 3)
scores_of = partial(
    st.lists, st.floats(-8, 8, allow_nan=False).map(lambda x: round(x, 3)), unique=True
)


@st.composite
def lists(draw, least=3, most=6):
    """Scores without ties, grades that differ, a teacher whose scores do."""
    n = draw(st.integers(least, most))
    labels = draw(st.lists(grades, min_size=n, max_size=n).filter(lambda ys: len(set(ys)) > 1))
    scores = draw(scores_of(min_size=n, max_size=n).filter(lambda s: max(s) - min(s) > 0.1))
    return scores, labels, draw(scores_of(min_size=n, max_size=n))


def batched(items):
    """Lists of several lengths as tensors, padded with NaN."""
    n = max(len(scores) for scores, *_ in items)
    columns = [
        double([[*values, *[math.nan] * (n - len(values))] for values in column])
        for column in zip(*items, strict=True)
    ]
    return *columns, ~columns[0].isnan()


def test_every_loss_has_a_definition_and_the_exports_are_sorted():
    assert sorted(DEFINITIONS) == NAMES
    assert losses.__all__ == sorted(losses.__all__)
    for name in losses.__all__:
        assert name.isupper() or getattr(losses, name).__doc__, name


@pytest.mark.parametrize("name", NAMES)
@some
@given(st.lists(lists(), min_size=1, max_size=3))
def test_a_loss_is_its_definition_and_the_mean_over_lists(name, items):
    scores, labels, teacher, where = batched(items)
    expected = sum(DEFINITIONS[name](*item) for item in items) / len(items)
    found = RANKING_LOSSES[name](scores, labels, teacher, where)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_differences(name):
    scores, labels, teacher, where = batched(
        [
            ([0.3, -1.2, 2.0, 0.9], [1, 3, 0, 1], [0.1, 2.0, -1.0, 0.7]),
            ([1.0, 0.2, -0.4], [2, 0, 1], [1.0, 0.5, 0.0]),
        ]
    )
    scores = scores.nan_to_num(7.0).requires_grad_()
    loss = RANKING_LOSSES[name]
    assert torch.autograd.gradcheck(lambda s: loss(s, labels, teacher, where), scores)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf, 1e30])
def test_padding_has_exactly_no_influence(name, junk):
    scores = double([[0.5, 2.0, -1.0, 0.1], [1.0, 0.0, 0.5, -0.5]])
    labels, teacher = double([[0, 1, 2, 1], [2, 1, 0, 0]]), double([[0, 1, 3, 2], [4, 3, 1, 2]])
    plain = scores.clone().requires_grad_()
    expected = RANKING_LOSSES[name](plain, labels, teacher)
    expected.backward()
    at = [0, 2, 3, 5]  # padding stands in between and at the end
    wide = [torch.full((2, 7), junk, dtype=torch.float64) for _ in range(3)]
    for column, values in zip(wide, (scores, labels, teacher), strict=True):
        column[:, at] = values
    where = torch.zeros(2, 7, dtype=torch.bool)
    where[:, at] = True
    wide[0].requires_grad_()
    found = RANKING_LOSSES[name](*wide, where)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert wide[0].grad is not None
    torch.testing.assert_close(wide[0].grad[:, at], plain.grad, rtol=1e-9, atol=1e-12)
    assert (wide[0].grad[~where] == 0).all()


@pytest.mark.parametrize("name", NAMES)
@some
@given(lists(), st.randoms(use_true_random=False))
def test_the_order_in_which_passages_are_given_is_nothing(name, item, random):
    moved = list(range(len(item[0])))
    random.shuffle(moved)
    shuffled = [[values[i] for i in moved] for values in item]
    loss = RANKING_LOSSES[name]
    one, other = (loss(*(double([values]) for values in each)) for each in (item, shuffled))
    assert one.item() == pytest.approx(other.item(), rel=1e-9, abs=1e-9)


NOTHING = {
    "one passage": ([[3.0]], [[1]], None),
    "one grade": ([[3.0, -2.0, 0.0]], [[2, 2, 2]], None),
    "one left": ([[3.0, math.nan, math.inf]], [[1, 0, 2]], [[True, False, False]]),
    "one grade left": ([[3.0, 1.0, 5.0]], [[1, 1, 2]], [[True, True, False]]),
    "padding only": ([[math.nan, 1.0, 0.0]], [[1, 0, 2]], [[False, False, False]]),
}


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize("case", NOTHING)
def test_nothing_to_compare_is_zero_with_a_gradient_of_zeros(name, case):
    scores, labels, where = NOTHING[case]
    scores = double(scores).requires_grad_()
    mask = None if where is None else torch.tensor(where)
    loss = RANKING_LOSSES[name](scores, double(labels), None, mask)
    loss.backward()
    assert loss.item() == 0
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_lists_is_zero(name):
    scores = torch.zeros(0, 3, requires_grad=True)
    loss = RANKING_LOSSES[name](scores, torch.zeros(0, 3))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("name", COMPARING)
def test_lists_with_nothing_to_compare_do_not_count(name):
    scores = double([[0.5, 2.0, -1.0], [9.0, 1.0, 2.0]])
    labels = double([[0, 1, 2], [1, 1, 1]])
    loss = RANKING_LOSSES[name]
    assert loss(scores, labels).item() == pytest.approx(loss(scores[:1], labels[:1]).item())


def test_a_single_passage_and_one_grade_count_for_a_pointwise_loss():
    found = RANKING_LOSSES["bce"](double([[2.0]]), double([[0]]))
    assert found.item() == pytest.approx(softplus(2.0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_extreme_logits_are_finite(name, dtype, scale):
    """Right and wrong by twenty thousand logits."""
    scores = (torch.tensor([[1e4, 0.0, -1e4, -1e4]]) * scale).to(dtype).requires_grad_()
    labels = torch.tensor([[3, 2, 1, 0]])
    loss = RANKING_LOSSES[name](scores, labels)
    loss.backward()
    assert loss.dtype == (dtype if dtype == torch.float64 else torch.float32)
    assert loss.isfinite()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_tied_scores_are_finite(name):
    scores = torch.full((1, 4), 0.1, requires_grad=True)
    loss = RANKING_LOSSES[name](scores, torch.tensor([[2, 1, 0, 1]]))
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_flows_into_targets_and_inputs_stay(name):
    scores = double([[0.5, 2.0, -1.0]]).requires_grad_()
    labels, teacher = double([[0.0, 1.0, 2.0]]), double([[0.0, 1.0, 3.0]])
    before = [tensor.detach().clone() for tensor in (scores, labels, teacher)]
    labels.requires_grad_()
    teacher.requires_grad_()
    RANKING_LOSSES[name](scores, labels, teacher).backward()
    assert labels.grad is None
    assert teacher.grad is None
    for tensor, kept in zip((scores, labels, teacher), before, strict=True):
        assert torch.equal(tensor.detach(), kept)


@pytest.mark.parametrize("name", NAMES)
def test_descent_puts_the_relevant_passage_first(name):
    scores = double([[2.0, 1.0, 0.0, -1.0]]).requires_grad_()
    labels = double([[0, 0, 1, 0]])
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        RANKING_LOSSES[name](scores, labels).backward()
        optimizer.step()
    assert scores.argmax().item() == 2


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused_with_a_sentence(name):
    loss = RANKING_LOSSES[name]
    for shape in [(3,), (1, 0), (1, 2, 2)]:
        with pytest.raises(InputError, match="expected a row for each list"):
            loss(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(InputError, match=r"has shape \(1, 2\) and scores \(1, 3\)"):
        loss(torch.zeros(1, 3), torch.zeros(1, 2), where=torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="where has shape"):
        loss(torch.zeros(1, 3), torch.ones(1, 3), None, torch.ones(1, 3))
    with pytest.raises(InputError, match="where has shape"):
        loss(torch.zeros(1, 3), torch.ones(1, 3), None, torch.ones(1, 2, dtype=torch.bool))


SHIFT_MATTERS = {"bce"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - SHIFT_MATTERS))
@some
@given(lists(), st.floats(-100, 100))
def test_a_constant_added_to_the_scores_changes_nothing(name, item, constant):
    scores, labels, teacher = (double([values]) for values in item)
    loss = RANKING_LOSSES[name]
    shifted = loss(scores + constant, labels, teacher)
    assert shifted.item() == pytest.approx(loss(scores, labels, teacher).item(), rel=1e-6, abs=1e-8)


# What is particular to one.


def test_plain_ranknet_has_no_weights():
    scores, ranks = double([[0.4, -0.2, 1.0]]), torch.tensor([[3, 1, 2]])
    expected = (softplus(1.0 + 0.2) + softplus(0.4 + 0.2) + softplus(0.4 - 1.0)) / 3
    assert ranknet(scores, ranks, weighted=False).item() == pytest.approx(expected)


def test_tied_ranks_make_no_pair():
    loss = ranknet(double([[5.0, -5.0, 0.0]]), torch.tensor([[1, 1, 2]]))
    assert loss.item() == pytest.approx((softplus(-5.0) + softplus(5.0)) / 2 / 3)


def test_lambda_loss_with_labels_as_large_as_logits():
    """Gains are 2^y: they overflow unless both parts of the fraction are scaled."""
    loss = lambda_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[5000.0, 0.0]]))
    assert loss.item() == pytest.approx((1 - 1 / math.log2(3)) * softplus(1.0) / math.log(2))


def test_lambda_loss_gives_negative_grades_the_gain_of_zero():
    one, other = (
        lambda_loss(double([[0.3, 0.1, 0.2]]), double([[2, low, 0]])) for low in (-1.0, -5.0)
    )
    assert one == other
    assert lambda_loss(double([[0.3, 0.1]]), double([[-1, -2]])).item() == 0


def test_sigma_scales_differences():
    scores, labels = double([[0.3, 1.0, -2.0]]), double([[2, 0, 1]])
    found = lambda_loss(scores, labels, sigma=3.0)
    assert found.item() == pytest.approx(lambda_loss(3 * scores, labels).item())


def test_the_temperature_of_listnet_is_the_labels_alone():
    scores, labels = double([[0.3, 1.0, -2.0]]), double([[2, 0, 1]])
    assert listnet(scores, labels, temperature=0.5) == listnet(scores, 2 * labels)


@given(scores_of(min_size=4, max_size=4))
def test_the_likelihoods_of_all_orders_sum_to_one(scores):
    orders = itertools.permutations(range(4))
    losses = [list_mle(double([scores]), double([labels])).item() for labels in orders]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1)


def test_list_mle_of_three_passages_by_hand():
    """P(b, a, c) = e^b / (e^a + e^b + e^c) * e^a / (e^a + e^c)."""
    a, b, c = 0.2, -0.5, 1.5
    chosen = math.exp(b) / (math.exp(a) + math.exp(b) + math.exp(c))
    chosen *= math.exp(a) / (math.exp(a) + math.exp(c))
    assert list_mle(double([[a, b, c]]), double([[1, 2, 0]])).item() == pytest.approx(
        -math.log(chosen)
    )


def test_p_list_mle_of_a_hundred_passages_is_finite_in_single_precision():
    labels = torch.arange(300.0)[None]
    found = RANKING_LOSSES["p-list-mle"](torch.zeros(1, 300), labels).item()
    expected = sum(2.0**-k * math.log(300 - k) for k in range(60))
    assert found == pytest.approx(expected, rel=1e-5)


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


@given(lists(), st.floats(0.01, 100), st.floats(-50, 50), st.floats(0.2, 5), st.floats(-2, 1.2))
def test_z_loss_does_not_change_with_scale_and_shift(item, scale, shift, a, b):
    scores, labels, _ = item
    expected = one_z_loss(scores, labels, None, a, b)
    moved = double([scores]) * scale + shift
    assert z_loss(moved, double([labels]), a=a, b=b).item() == pytest.approx(expected, rel=1e-6)


def test_z_loss_of_equal_scores_is_that_of_the_mean():
    scores = torch.full((1, 3), 0.1, requires_grad=True)  # whose mean is not 0.1 in floats
    loss = z_loss(scores, torch.tensor([[1, 0, 0]]), a=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(softplus(2.0) / 2)
    assert (scores.grad == 0).all()


def test_z_loss_wants_a_deviation_that_some_score_can_have():
    scores, labels = torch.zeros(1, 5), torch.tensor([[1, 0, 0, 0, 0]])
    assert z_loss(scores, labels, b=1.99).isfinite()
    with pytest.raises(InputError, match="no score of 5 is more than 2 deviations"):
        z_loss(scores, labels, b=2.0)
    with pytest.raises(InputError, match="no score of 2 is more than 1 deviations"):
        z_loss(scores[:, :2], labels[:, :2])
    with pytest.raises(InputError, match="a is 0"):
        z_loss(scores, labels, a=0)


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


@given(st.lists(st.tuples(grades, st.booleans()), min_size=1, max_size=8))
def test_ranks_are_dense_and_padding_has_none(items):
    labels, where = (torch.tensor([values]) for values in zip(*items, strict=True))
    kept = [label for label, valid in items if valid]
    expected = iter(dense_ranks(kept))
    assert ranks_of(labels, where).tolist() == [[next(expected) if w else 0 for _, w in items]]


# Over the tokens of an answer.


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


# The joint objective of FIRST, beside what its published code computes.


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


# The Wasserstein distance of a batch.


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


# By name.


def test_options_of_a_named_loss():
    scores, labels = double([[0.3, 1.0, -2.0]]), double([[2, 0, 1]])
    assert ranking_loss("listnet", temperature=0.5)(scores, labels) == listnet(
        scores, labels, temperature=0.5
    )
    assert ranking_loss("ranknet", weighted=False)(scores, labels) == ranknet(
        scores, ranks_of(labels), weighted=False
    )


@pytest.mark.parametrize("name", ["dear", "kl", "margin-mse", "pld"])
def test_a_teacher_of_another_shape_is_named(name):
    with pytest.raises(InputError, match=r"teacher has shape \(1, 2\)"):
        ranking_loss(name)(torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 2))


@pytest.mark.parametrize("name", ["dear", "kl", "margin-mse", "pld"])
def test_labels_stand_in_for_a_teacher(name):
    scores, labels = double([[0.3, 1.0, -2.0]]), double([[2, 0, 1]])
    loss = ranking_loss(name)
    assert loss(scores, labels) == loss(scores, labels, labels)
    assert loss(scores, labels) != loss(scores, labels, -labels)


def test_unknown_names_and_options_are_refused_with_what_there_is():
    with pytest.raises(UnknownNameError, match=r"Known: bce, .*, z-loss"):
        ranking_loss("ranklist")
    with pytest.raises(InputError, match=r"has no option beta. It has: a, b"):
        ranking_loss("z-loss", beta=1)
    with pytest.raises(InputError, match="It has none"):
        ranking_loss("list-mle", temperature=1)


@pytest.mark.parametrize("name", ["listnet", "kl", "pld", "dear"])
@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_temperatures_are_positive(name, temperature):
    with pytest.raises(InputError, match="the temperature is"):
        ranking_loss(name, temperature=temperature)(torch.zeros(1, 2), torch.tensor([[1, 0]]))


def test_other_options_are_checked():
    scores, labels = torch.zeros(1, 2), torch.tensor([[1, 0]])
    with pytest.raises(InputError, match="alpha is 2"):
        ranking_loss("dear", alpha=2)(scores, labels)
    with pytest.raises(UnknownNameError, match="cross_entropy, ranknet, mixed"):
        ranking_loss("dear", main="lambda")(scores, labels)
    with pytest.raises(InputError, match="sigma is 0"):
        ranking_loss("lambda", sigma=0)(scores, labels)
    with pytest.raises(InputError, match="the temperature is 0"):
        wasserstein(scores, labels, temperature=0)


def test_without_torch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None\nimport rerank_plugins.training.losses"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "rerank-plugins[transformers]" in found.stderr.splitlines()[-1]
