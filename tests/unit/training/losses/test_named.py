"""Every ranking loss against its definition, and what holds for all of them."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_definitions import DEFINITIONS, batched, double, lists, some

from rerank_plugins.errors import InputError, UnknownNameError
from rerank_plugins.training import losses
from rerank_plugins.training.losses import (
    RANKING_LOSSES,
    listnet,
    ranking_loss,
    ranknet,
    ranks_of,
    wasserstein,
)

NAMES = sorted(RANKING_LOSSES)


COMPARING = sorted(set(NAMES) - {"bce"})  # the others look at one passage at a time


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
        with pytest.raises(InputError, match=r"expected \(batch, n\)"):
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
    with pytest.raises(UnknownNameError, match=r"no ranking loss 'ranklist'. Did you mean ranknet"):
        ranking_loss("ranklist")
    with pytest.raises(InputError, match=r"has no option beta. It has a, b"):
        ranking_loss("z-loss", beta=1)
    with pytest.raises(InputError, match="There is none"):
        ranking_loss("list-mle", temperature=1)


@pytest.mark.parametrize("name", ["listnet", "kl", "pld", "dear"])
@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_temperatures_are_positive(name, temperature):
    with pytest.raises(InputError, match="temperature is"):
        ranking_loss(name, temperature=temperature)(torch.zeros(1, 2), torch.tensor([[1, 0]]))


def test_other_options_are_checked():
    scores, labels = torch.zeros(1, 2), torch.tensor([[1, 0]])
    with pytest.raises(InputError, match="alpha is 2"):
        ranking_loss("dear", alpha=2)(scores, labels)
    with pytest.raises(UnknownNameError, match="Known: mixed, ranknet, cross_entropy"):
        ranking_loss("dear", main="lambda")(scores, labels)
    with pytest.raises(InputError, match="sigma is 0"):
        ranking_loss("lambda", sigma=0)(scores, labels)
    with pytest.raises(InputError, match="temperature is 0"):
        wasserstein(scores, labels, temperature=0)


def test_without_torch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None\nimport rerank_plugins.training.losses"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "rerank-plugins[transformers]" in found.stderr.splitlines()[-1]
