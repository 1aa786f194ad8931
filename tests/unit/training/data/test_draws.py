"""Repeatable draws: the generators behind training lists."""

from collections import Counter

from rerank_plugins.training.data._draws import drawn, permuted, source


def test_a_seed_gives_these_numbers_in_every_version():
    """Seen with Python 3.11: `random.Random` of a string, and its method ``random``."""
    import random

    expected = random.Random(repr((1, "q7"))).random()
    assert source(1, "q7").random() == expected


def test_a_permutation_has_every_item_once_and_all_orders_come():
    orders = Counter(tuple(permuted("abc", source(seed))) for seed in range(600))
    assert {tuple(sorted(order)) for order in orders} == {("a", "b", "c")}
    assert len(orders) == 6
    assert all(60 <= count <= 140 for count in orders.values()), orders  # 100 each, by chance


def test_draws_are_without_replacement_and_at_most_all():
    assert sorted(drawn("abc", 5, source(1))) == ["a", "b", "c"]
    assert drawn("abc", 0, source(1)) == []
    assert len(set(drawn(range(100), 10, source(1)))) == 10
