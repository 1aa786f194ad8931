"""Plain encoders: which tokens count, parts, cuts, and the key."""

import numpy as np
import pytest

from rerank_plugins.backends._late.encoding import PlainEncoder, Recipe
from rerank_plugins.errors import InputError


class Letters:
    """States that depend on the token and on the part around it; ids are those of letters."""

    key, dim, around = "letters", 4, ((1,), (2,))

    def __init__(self):
        self.read = []

    def ids(self, text):
        return [ord(c) for c in text]

    def states(self, sequences):
        self.read += sequences
        return [
            np.stack([[1.0, t % 7, t % 11, sum(s) % 5] for t in s]).astype(np.float32)
            for s in sequences
        ]


def rows(sequence):
    [states] = Letters().states([sequence])
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def test_every_token_of_a_query_counts_and_of_a_passage_all_but_special_ones():
    encoder = PlainEncoder(Letters(), Recipe())
    [query], [passage] = (encoder.encode(["ab"], role) for role in ("query", "passage"))
    whole = rows([1, 97, 98, 2])
    assert query.vectors == pytest.approx(whole)
    assert passage.vectors == pytest.approx(whole[1:-1])
    assert query.tokens == passage.tokens == 4
    assert query.vectors.dtype == np.float32


def test_an_empty_passage_has_the_vectors_of_its_special_tokens():
    [empty] = PlainEncoder(Letters(), Recipe()).encode([""], "passage")
    assert empty.vectors == pytest.approx(rows([1, 2]))


def test_long_texts_are_read_in_equal_parts_and_cut_at_the_limit():
    hidden = Letters()
    recipe = Recipe(part_tokens=8, max_tokens=13)
    [short, long] = PlainEncoder(hidden, recipe).encode(["abcdefghijklm", "n" * 14], "passage")
    assert [len(s) for s in hidden.read] == [7, 6, 6, 7, 6, 6]
    assert all(s[0] == 1 and s[-1] == 2 for s in hidden.read)
    assert len(short.vectors) == len(long.vectors) == 13
    assert short.tokens == 13 + 6
    assert not short.truncated
    assert long.truncated


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_pooled_vectors_are_one_a_part(pooling):
    recipe = Recipe(part_tokens=8, pooling=pooling)
    [found] = PlainEncoder(Letters(), recipe).encode(["abcdefgh"], "passage")
    parts = [[1, *map(ord, part), 2] for part in ("abcd", "efgh")]
    [*states] = Letters().states(parts)
    pooled = [s.mean(axis=0) if pooling == "mean" else s[0] for s in states]
    assert found.vectors == pytest.approx(np.stack([p / np.linalg.norm(p) for p in pooled]))


def test_prefixes_are_read_before_texts():
    hidden = Letters()
    encoder = PlainEncoder(hidden, Recipe(query_prefix="q:", passage_prefix="p:"))
    encoder.encode(["a"], "query")
    encoder.encode(["a"], "passage")
    assert ["".join(map(chr, s[1:-1])) for s in hidden.read] == ["q:a", "p:a"]


def test_another_recipe_or_other_weights_have_another_key():
    other = Letters()
    other.key = "other"
    keys = {
        PlainEncoder(Letters(), Recipe()).key,
        PlainEncoder(Letters(), Recipe(max_tokens=513)).key,
        PlainEncoder(Letters(), Recipe(pooling="mean")).key,
        PlainEncoder(other, Recipe()).key,
    }
    assert len(keys) == 4
    assert PlainEncoder(Letters(), Recipe()).key in keys


@pytest.mark.parametrize(
    "wrong", [{"part_tokens": 7}, {"max_tokens": 0}, {"max_tokens": 1.5}, {"pooling": "sum"}]
)
def test_recipes_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Recipe(**wrong)
