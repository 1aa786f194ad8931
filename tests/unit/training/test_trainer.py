"""The training loop's own parts: the order of its data, and its validation."""

import pytest

from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle
from rerank_plugins.training import TrainingList, TrainingOptions
from rerank_plugins.training._trainer import Epochs, common_arguments, ndcg

ROWS = [TrainingList(f"query {i}", tuple("abcdefgh"), tuple(range(8))) for i in range(5)]


def epochs(seed=1, shuffle=True):
    return Epochs([(row,) for row in ROWS], lambda row: row, epochs=3, seed=seed, shuffle=shuffle)


def test_every_list_comes_once_an_epoch_in_another_order():
    data = epochs()
    assert len(data) == 15
    items = [data[i][0] for i in range(15)]
    orders = [[row.query for row in items[k : k + 5]] for k in (0, 5, 10)]
    assert all(sorted(order) == [row.query for row in ROWS] for order in orders)
    assert len(set(map(tuple, orders))) > 1
    assert len({row.passages for row in items}) > 5
    for row in items:  # labels follow their passages
        assert dict(zip(row.passages, row.labels, strict=True)) == dict(
            zip("abcdefgh", range(8), strict=True)
        )


def test_an_item_is_the_same_after_a_restart():
    assert [epochs()[i] for i in range(15)] == [epochs()[i] for i in range(15)]
    assert [epochs()[i] for i in range(15)] != [epochs(seed=2)[i] for i in range(15)]
    assert {epochs(shuffle=False)[i][0].passages for i in range(15)} == {tuple("abcdefgh")}


def test_validation_is_ndcg_of_the_ranked_lists():
    """By hand: the only relevant passage first, and second: 1 and 1 / log2(3)."""
    rows = [TrainingList("q", ("bb", "a"), (1, 0)), TrainingList("q", ("a", "bb"), (1, 0))]
    longest = Oracle(key=lambda query, passage: float(len(passage)))
    assert ndcg(PairScore(), longest, rows[:1]) == pytest.approx(1.0)
    assert ndcg(PairScore(), longest, rows) == pytest.approx((1 + 0.63093) / 2, abs=1e-5)


def test_arguments_follow_the_options(tmp_path):
    options = TrainingOptions(batch_size=3, evaluate_every=7, seed=5, device="cpu", warmup=2)
    given = common_arguments(options, tmp_path)
    assert given["per_device_train_batch_size"] == 3
    assert (given["save_steps"], given["seed"], given["warmup_steps"]) == (7, 5, 2)
    assert given["max_steps"] == -1
    assert given["use_cpu"] is True
