"""Groups and batches, of rows small enough to write out."""

import pytest
import torch

from rerank_plugins.training import TrainingList
from rerank_plugins.training._batches import (
    MOST_TOGETHER,
    Collator,
    group_lists,
    mostly_shared,
    pack,
    shuffle_group,
)
from rerank_plugins.training._encoding import EncodedList, Row

LOWEST = torch.finfo(torch.float32).min


def test_language_models_read_padding_on_the_left():
    one = Row(ids=(5, 6, 7, 8), target=2, labels=(1, 2), ranks=(1, 0))
    other = Row(ids=(9, 9), target=0, labels=(3,))
    lists = [EncodedList((one,), (0.0, 1.0), (0.5, 0.6)), EncodedList((other,), (1.0,), (2.0,))]
    batch = Collator(pad_id=-7)([[each] for each in lists])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [-7, -7, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert batch["logits_to_keep"] == 3
    assert batch["targets"].tolist() == [[7, 8, -100], [-100, -100, -100]]
    assert batch["ranks"].tolist() == [[1, 0, 0], [0, 0, 0]]
    assert batch["last"].tolist() == [0, 2]
    assert batch["candidates"].tolist() == [[1, 2], [3, -1]]
    assert batch["relevance"].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert batch["where"].tolist() == [[True, True], [True, False]]
    torch.testing.assert_close(batch["teacher"], torch.tensor([[0.5, 0.6], [2.0, 0.0]]))


def test_tokens_that_count_are_marked_for_late_interaction():
    rows = (Row((1, 7, 2), counted=(0, 3)), Row((1, 8, 9, 2), counted=(1, 3)))
    batch = Collator(pad_id=0, classifier=True)([[EncodedList(rows, (1.0,), (1.0,))]])
    assert batch["counted"].int().tolist() == [[1, 1, 1, 0], [0, 1, 1, 0]]
    assert batch["where"].tolist() == [[True]]


@pytest.mark.parametrize("types", [(0, 1), ()])
def test_classifiers_read_it_on_the_right(types):
    rows = (Row((4, 5), token_types=types), Row((6,), token_types=types[:1]))
    batch = Collator(pad_id=0, classifier=True)([[EncodedList(rows, (0.0, 1.0), (0.0, 1.0))]])
    assert batch["input_ids"].tolist() == [[4, 5], [6, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert ("token_type_ids" in batch) == bool(types)
    assert "logits_to_keep" not in batch


def test_a_pack_reads_what_is_shared_once():
    first, second = Row((1, 2, 3, 4), target=1), Row((1, 2, 5), target=0)
    found = pack([[first, second], [Row((1, 9), target=0)]])
    assert found["input_ids"].tolist() == [[1, 2, 3, 4, 5, 1, 9]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert found["logits_to_keep"].tolist() == [2, 3, 4, 6]
    assert found["unpack"].tolist() == [[0, 1], [2, 2], [3, 3]]
    seen = (found["attention_mask"][0, 0] == 0).int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0],  # shared
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],  # the first row's own
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],  # the second row's: it does not see the first's
        [0, 0, 0, 0, 0, 1, 0],  # another group
        [0, 0, 0, 0, 0, 1, 1],
    ]
    assert found["attention_mask"].min() == LOWEST


def test_equal_rows_keep_a_last_token_each():
    found = pack([[Row((1, 2)), Row((1, 2))]])
    assert found["input_ids"].tolist() == [[1, 2, 2]]
    assert found["unpack"].tolist() == [[0], [1]]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 5), True),  # three of four
        ((1, 2, 3, 4), (1, 2, 5, 6), False),  # half
        ((1, 2, 3, 4), (1, 2, 3, 4), True),
        ((1, 2, 3, 4), (1, 2, 3, 5, 6, 7), False),  # half of the longer one
        ((1, 2), (3, 4), False),
    ],
)
def test_what_is_worth_packing_shares_more_than_half(first, second, expected):
    rows = [Row(first), Row(second)]
    assert mostly_shared(rows) is mostly_shared(rows[::-1]) is expected


def lists(passages, queries):
    """A list of each query with the same passages, whose best one moves on."""
    return [
        TrainingList(query, tuple(passages), tuple(float((i + k) % 4) for i in range(4)))
        for k, query in enumerate(queries)
    ]


def test_neighbours_are_grouped_and_shuffled_alike():
    rows = lists("abcd", "xyz") + lists("dcba", "xyz")
    assert [len(g) for g in group_lists(rows, together=True)] == [3, 3]
    assert [len(g) for g in group_lists(rows, together=False)] == [1] * 6
    many = lists("abcd", map(str, range(MOST_TOGETHER + 1)))
    assert [len(g) for g in group_lists(many, together=True)] == [MOST_TOGETHER, 1]
    [group, _] = group_lists(rows, together=True)
    moved = shuffle_group(group, 5)
    assert len({row.passages for row in moved}) == 1
    assert moved == shuffle_group(group, 5) != shuffle_group(group, 6)
    for before, after in zip(group, moved, strict=True):
        pairs = zip(before.passages, before.labels, strict=True)
        assert dict(pairs) == dict(zip(after.passages, after.labels, strict=True))
