"""Objectives: kinds of questions, and the loss of a batch computed by hand."""

import math

import pytest
import torch

from rerank_plugins import InputError
from rerank_plugins.calls import Message, NextToken, Prompt
from rerank_plugins.strategies import (
    Groupwise,
    PairScore,
    Permutation,
    Pointwise,
    QueryLikelihood,
    SingleToken,
)
from rerank_plugins.training import Objective, TrainingList
from rerank_plugins.training._objectives import (
    DEFAULTS,
    batch_loss,
    check_objective,
    kind_of,
    late_interaction,
)
from rerank_plugins.training._questions import questions
from rerank_plugins.training.losses import ranking_loss

ROW = TrainingList("flea", ("a dog", "a flea", "the sea"), (0, 2, 1))


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [
        (SingleToken(), "listwise"),
        (Pointwise(), "pointwise"),
        (Pointwise(prompt="zerank.v1"), "pointwise"),
        (QueryLikelihood(), "likelihood"),
        (Permutation(), "written"),
        (Groupwise(), "written"),
        (PairScore(), "classifier"),
    ],
    ids=str,
)
def test_the_questions_tell_the_kind(strategy, kind):
    assert kind_of(questions(strategy, ROW)) == kind


def test_pairs_are_scored_by_a_classifier_or_by_late_interaction():
    asked = questions(PairScore(), ROW)
    assert kind_of(asked, late_interaction=True) == "late-interaction"
    with pytest.raises(InputError, match="late interaction scores pairs"):
        kind_of(questions(SingleToken(), ROW), late_interaction=True)


def cosines(query, passage):
    """Mean of the best cosines, from the definition."""
    cos = torch.nn.functional.cosine_similarity
    return torch.stack([max(cos(q, d, dim=0) for d in passage) for q in query]).mean()


def test_late_interaction_is_the_mean_of_the_best_cosines():
    torch.manual_seed(3)
    states = torch.randn(5, 4, 6)  # two lists: a query and two passages, a query and one
    sizes = [2, 4, 3, 3, 1]
    counted = torch.tensor([[i < n for i in range(4)] for n in sizes])
    counted[1, 0] = False  # a special token
    where = torch.tensor([[True, True], [True, False]])
    found = late_interaction(states, counted, where)
    texts = [row[mask] for row, mask in zip(states, counted, strict=True)]
    expected = [cosines(texts[0], texts[1]), cosines(texts[0], texts[2]), cosines(*texts[3:])]
    torch.testing.assert_close(found[where], torch.stack(expected))
    assert found[1, 1] == 0


@pytest.mark.parametrize(("scale", "factor"), [(None, 30.0), (2.0, 2.0)])
def test_cosines_are_spread_before_the_loss(scale, factor):
    states = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])  # cosines 1 and 0
    where = torch.ones(1, 2, dtype=torch.bool)
    labels = torch.tensor([[0.0, 1.0]])
    batch = {"counted": torch.ones(3, 1, dtype=torch.bool), "where": where}
    batch |= {"relevance": labels, "teacher": labels}
    objective = Objective(ranking="cross-entropy", weight=1.0, lm_weight=0.0, scale=scale)
    loss = batch_loss("late-interaction", objective, states, batch)
    assert loss.item() == pytest.approx(math.log1p(math.exp(factor)))


def test_a_choice_of_many_labels_for_each_passage_is_not_trained():
    prompt = Prompt((Message("user", ("flea",)),))
    with pytest.raises(InputError, match="a choice between 4 labels"):
        kind_of((NextToken(prompt, ("0", "1", "2", "3")),) * 2)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_the_default_objectives_are_allowed(kind):
    check_objective(kind, DEFAULTS[kind])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ranking": None, "lm_weight": 0.0}, "nothing is minimised"),
        ({"weight": 0.0, "lm_weight": 0.0}, "nothing is minimised"),
        ({"weight": -1.0}, r"weight is -1.0, expected at least 0"),
        ({"lm_weight": math.inf}, "lm_weight is inf"),
        ({"lm_weight": math.nan}, "lm_weight is nan"),
        ({"options": {"warmth": 1}}, "no option warmth"),
    ],
)
def test_objectives_out_of_range(changes, said):
    with pytest.raises(InputError, match=said):
        Objective(**changes)


def log_softmax(values, i):
    return values[i] - math.log(sum(map(math.exp, values)))


def batch(**given):
    """Of one list of two passages, the second relevant."""
    common = {"relevance": [[0.0, 1.0]], "teacher": [[0.0, 1.0]], "where": [[True, True]]}
    return {name: torch.tensor(values) for name, values in (common | given).items()}


def test_listwise_scores_are_the_logits_of_the_identifiers():
    logits = torch.tensor([[[0.0, 1.0, -2.0], [0.5, 0.25, 3.0]]])
    given = batch(last=[0], candidates=[[2, 1]], targets=[[1, -100]], ranks=[[1, 0]])
    ranknet = math.log(1 + math.exp(-2.0 - 1.0)) / 3  # ranks 2 and 1
    written = -log_softmax([0.0, 1.0, -2.0], 1)
    objective = Objective(weight=10.0, lm_weight=0.5)
    found = batch_loss("listwise", objective, logits, given)
    assert found.item() == pytest.approx(10 * ranknet + 0.5 * written, rel=1e-5)


def test_importance_weighs_the_first_place_twice():
    logits = torch.tensor([[[0.0, 1.0, -2.0], [0.5, 0.25, 3.0]]])
    given = batch(targets=[[1, 2]], ranks=[[1, 0]])
    first, second = -log_softmax([0.0, 1.0, -2.0], 1), -log_softmax([0.5, 0.25, 3.0], 2)
    found = batch_loss("written", DEFAULTS["written"], logits, given)
    assert found.item() == pytest.approx((2 * first + second) / 2, rel=1e-5)


def test_pointwise_scores_are_log_odds():
    logits = torch.tensor([[[1.0, 0.0]], [[3.0, 0.5]]])
    given = batch(last=[0, 0], candidates=[[0, 1], [0, 1]])
    expected = (math.log(1 + math.exp(1.0)) + math.log(1 + math.exp(-2.5))) / 2
    found = batch_loss("pointwise", DEFAULTS["pointwise"], logits, given)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_classifiers_scores_are_logits():
    expected = (math.log(1 + math.exp(0.25)) + math.log(1 + math.exp(-1.5))) / 2
    logits = torch.tensor([[0.25], [1.5]], dtype=torch.bfloat16)
    found = batch_loss("classifier", DEFAULTS["classifier"], logits, batch())
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_only_relevant_passages_make_the_query_likely():
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0]], [[0.5, 0.0], [0.0, 0.25]]])
    given = batch(targets=[[0, 1], [0, -100]])
    of_first = (log_softmax([0.0, 1.0], 0) + log_softmax([2.0, 0.0], 1)) / 2
    of_second = log_softmax([0.5, 0.0], 0)
    scores = torch.tensor([[of_first, of_second]])
    listnet = ranking_loss("listnet")(scores, given["relevance"], given["teacher"], given["where"])
    found = batch_loss("likelihood", DEFAULTS["likelihood"], logits, given)
    assert found.item() == pytest.approx(listnet.item() - of_second, rel=1e-5)


def test_a_packed_batch_is_taken_apart():
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0], [0.5, 0.25]]])
    given = batch(targets=[[1], [0]], ranks=[[1], [1]]) | {"unpack": torch.tensor([[2], [0]])}
    plain = Objective(ranking=None)
    expected = -(log_softmax([0.5, 0.25], 1) + log_softmax([0.0, 1.0], 0)) / 2
    assert batch_loss("written", plain, logits, given).item() == pytest.approx(expected, rel=1e-5)
