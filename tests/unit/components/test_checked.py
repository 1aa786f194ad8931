"""Attributes that are checked whenever they are assigned, and parts that can serve."""

import copy
import pickle
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.components import (
    Checked,
    Checks,
    check_flag,
    check_names,
    check_part,
    check_text,
    check_top_k,
)


class Box(Checked):
    _checks: ClassVar[Checks] = {
        "top_k": check_top_k,
        "flag": check_flag,
        "names": check_names,
        "text": check_text,
    }

    def __init__(self, model="m", top_k=3, flag=False, names=None, text=""):
        self.model, self.top_k, self.flag = model, top_k, flag
        self.names, self.text = names, text
        self._private = 1
        self._fix()


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())
)


def accepted(name, value):
    """What the definition of each attribute says."""
    return {
        "top_k": value is None or (type(value) is int and value > 0),
        "flag": isinstance(value, bool),
        "names": value is None or isinstance(value, list),
        "text": isinstance(value, str),
    }[name]


@given(st.sampled_from(["top_k", "flag", "names", "text"]), ANYTHING)
def test_a_value_is_accepted_when_made_and_when_assigned_or_never(name, value):
    box = Box()
    before = getattr(box, name)
    if accepted(name, value):
        setattr(box, name, value)
        assert getattr(box, name) is value
        Box(**{name: value})
        return
    with pytest.raises(InputError, match=name):
        setattr(box, name, value)
    assert getattr(box, name) is before
    with pytest.raises(InputError, match=name):
        Box(**{name: value})


def test_what_it_was_built_from_is_fixed_in_copies_too():
    for box in (Box(), copy.copy(Box()), copy.deepcopy(Box()), pickle.loads(pickle.dumps(Box()))):
        with pytest.raises(InputError, match="model cannot be changed"):
            box.model = "another"
        box.top_k, box._private, box.new = 1, 2, 3
        assert (box.model, box.top_k, box._private, box.new) == ("m", 1, 2, 3)


class Part:
    def run(self, query, documents, top_k=None):
        return {}


class Anything:
    def run(self, **inputs):
        return {}


def test_parts_that_serve():
    check_part("ranker", Part(), inputs=("query", "documents"))
    check_part("ranker", Anything(), inputs=("query", "documents"))
    check_part("ranker", None, inputs=("query",), optional=True)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (Part(), "ranker is a Part, and its run takes no text. It takes query, documents, top_k"),
        (Part, "expected an object with a method run"),
        (None, "ranker is None"),
        ("pair-score", "ranker is 'pair-score'"),
    ],
)
def test_parts_that_do_not(part, says):
    with pytest.raises(InputError, match=says):
        check_part("ranker", part, inputs=("query", "text"))
