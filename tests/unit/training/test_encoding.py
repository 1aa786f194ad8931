"""Targets and rows: what labels write, and where a token stands in an order."""

from types import SimpleNamespace

import pytest

from rerank_plugins import InputError
from rerank_plugins.backends._late.encoding import PlainEncoder, Recipe
from rerank_plugins.calls import Untrusted
from rerank_plugins.prompts import ListwisePrompt
from rerank_plugins.strategies import Groupwise, PairScore, Permutation, SingleToken, SlidingWindow
from rerank_plugins.training import TrainingList
from rerank_plugins.training._encoding import (
    PairEncoder,
    PromptEncoder,
    TokenVectorEncoder,
    shown_order,
    written_grades,
    written_order,
)

ROW = TrainingList("flea", ("a dog", "a flea", "the sea"), (0, 2, 1))


class Letters:
    """A renderer whose tokens are the characters of the text."""

    tokenizer = SimpleNamespace(eos_token_id=0, decode=lambda ids: chr(ids[0]))

    def encode(self, prompt):
        return SimpleNamespace(ids=list(map(ord, prompt.text)), text=prompt.text)

    def split(self, prompt, continuation):
        ids = [*self.encode(prompt).ids, *map(ord, continuation.text)]
        return SimpleNamespace(ids=ids), len(continuation.text)

    def labels(self, prompt, labels, text):
        return {label: ord(label) for label in labels}


def test_the_best_label_is_written_first_and_a_prefill_is_not_repeated():
    assert written_order(Permutation(), ROW) == "[2] > [3] > [1]"
    inside = SlidingWindow(SingleToken(), size=3, stride=1)
    assert written_order(inside, ROW) == "B] > [C] > [A]"
    ties = TrainingList("flea", ROW.passages, (1, 1, 1))
    assert written_order(Permutation(), ties) == "[1] > [2] > [3]"


def test_no_order_is_written_where_labels_do_not_say_it():
    with pytest.raises(InputError, match="PairScore writes no permutation"):
        written_order(PairScore(), ROW)
    with pytest.raises(InputError, match="asks for reasoning"):
        written_order(Permutation(prompt="reasonrank.v1"), ROW)
    odd = ListwisePrompt(alphabet="letters", user="{query}{passages}", prefill="The best is [")
    with pytest.raises(InputError, match=r"starts with 'The best is \['"):
        written_order(SingleToken(prompt=odd), ROW)


def test_grades_are_written_in_the_order_shown():
    strategy = Groupwise(size=3, interval=3, seed=1)
    first, second, third = strategy.groups(3)[0]
    grades = [int(ROW.labels[i]) for i in (first, second, third)]
    expected = '<answer>{{"[1]": {}, "[2]": {}, "[3]": {}}}</answer>'.format(*grades)
    assert written_grades(strategy, ROW) == expected
    assert list(shown_order(strategy, 3)) == [first, second, third]
    assert list(shown_order(Permutation(), 3)) == [0, 1, 2]


@pytest.mark.parametrize("label", [-1, 11, 0.5])
def test_labels_off_the_scale_are_not_grades(label):
    row = TrainingList("flea", ("a", "b"), (label, 1))
    with pytest.raises(InputError, match=f"the label {label:g} is not a grade from 0 to 10"):
        written_grades(Groupwise(), row)


def test_each_token_of_an_order_has_the_place_of_its_passage():
    [row] = PromptEncoder(Permutation(), Letters(), 100_000)(ROW).rows
    target = row.ids[-row.target :]
    assert "".join(map(chr, target[:-1])) == "[2] > [3] > [1]"
    assert target[-1] == 0  # the end of the answer
    #                     [  2  ]     >     [  3  ]     >     [  1  ] end
    assert row.ranks == (1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 0, 3, 3, 3, 3, 0)


def test_first_has_the_labels_and_the_order():
    encode = PromptEncoder(SingleToken(), Letters(), 100_000)
    [row] = encode(ROW).rows
    assert row.labels == tuple(map(ord, "ABC"))
    assert "".join(map(chr, row.ids[-row.target : -1])) == "B] > [C] > [A]"
    [bare] = PromptEncoder(SingleToken(), Letters(), 100_000, write=False)(ROW).rows
    assert (bare.target, bare.labels) == (0, row.labels)
    assert row.ids[: len(bare.ids)] == bare.ids


def test_labels_stand_in_for_a_teacher():
    encode = PromptEncoder(SingleToken(), Letters(), 100_000, write=False)
    assert encode(ROW).teacher == encode(ROW).relevance == (0, 2, 1)
    row = TrainingList(ROW.query, ROW.passages, ROW.labels, teacher=(0.5, 0.7, 0.6))
    assert encode(row).teacher == (0.5, 0.7, 0.6)


class Characters:
    """An encoder's tokens: the characters of a text, between 1 and 2."""

    around = ((1,), (2,))

    def ids(self, text):
        return list(map(ord, text))


def test_late_interaction_reads_the_query_then_each_passage_alone_and_cuts_it():
    recipe = Recipe(part_tokens=8, max_tokens=6, query_prefix="?")
    encode = TokenVectorEncoder(PairScore(), PlainEncoder(Characters(), recipe), 8)
    query, dog, flea, _ = encode(ROW).rows
    assert query.ids == (1, *map(ord, "?flea"), 2)
    assert query.counted == (0, 7)
    assert dog.ids == (1, *map(ord, "a dog"), 2)
    assert dog.counted == (1, 6)
    assert flea.ids == (1, *map(ord, "a flea"), 2)
    assert encode(ROW).relevance == (0, 2, 1)
    with pytest.raises(InputError, match="late interaction is trained for pairs"):
        TokenVectorEncoder(SingleToken(), encode.encoder, 8)(ROW)


def test_each_encoder_has_its_kind_of_question():
    with pytest.raises(InputError, match="ScorePair is not a question to a language model"):
        PromptEncoder(PairScore(), Letters(), 100)(ROW)
    with pytest.raises(InputError, match="NextToken is not a question to a classifier"):
        PairEncoder(SingleToken(), Letters(), 100)(ROW)


def test_the_answer_comes_from_outside():
    """Nothing in it may become a control token."""
    seen = []

    class Noting(Letters):
        def split(self, prompt, continuation):
            seen.append(continuation)
            return super().split(prompt, continuation)

    PromptEncoder(Permutation(), Noting(), 100_000)(ROW)
    assert {type(given) for given in seen} == {Untrusted}
