"""Names, specs and plugins."""

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from rerank_plugins import ConfigurationError, InputError, UnknownNameError
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.prompts import ListwisePrompt
from rerank_plugins.ranking import Strategy
from rerank_plugins.registry import BUILT_IN, from_spec, names, resolve, to_spec
from rerank_plugins.strategies import KeepOrder, PairScore, SingleToken, SlidingWindow


@dataclass(frozen=True, kw_only=True)
class Mine:
    """A strategy that somebody else registered."""

    factor: float = 2.0

    def rank(self, query, passages):
        raise AssertionError


@dataclass(frozen=True)
class Around:
    """A strategy of somebody else that holds others under names of its own."""

    outer: Strategy
    rest: tuple[Strategy, ...] = ()
    note: str = ""

    def rank(self, query, passages):
        raise AssertionError


@pytest.fixture
def plugin(monkeypatch):
    """An installed distribution with one good plugin and one that cannot be imported."""
    monkeypatch.setitem(sys.modules, "my_plugin", sys.modules[__name__])
    points = EntryPoints(
        [
            EntryPoint("mine", "my_plugin:Mine", "rerank_plugins.strategies"),
            EntryPoint("broken", "no_such_module:Strategy", "rerank_plugins.strategies"),
        ]
    )
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **kw: points.select(**kw))


@pytest.mark.parametrize(
    "strategy",
    [
        SingleToken(),
        SlidingWindow(
            inner=KeepOrder(inner=SingleToken(prompt="rankllm-letters.v1")), size=5, stride=3
        ),
        SingleToken(
            prompt=ListwisePrompt(alphabet="letters", user="{query}{passages}", checkpoints=("a",))
        ),
    ],
)
def test_a_spec_builds_an_equal_strategy(strategy):
    import json

    spec = to_spec("strategies", strategy)
    assert from_spec("strategies", json.loads(json.dumps(spec))) == strategy


def test_every_built_in_resolves():
    for group in BUILT_IN:
        for name in BUILT_IN[group]:
            assert resolve(group, name).__name__
            assert name in names(group)


def test_a_backend_of_a_loaded_model_has_no_spec():
    assert to_spec("backends", TransformersBackend("folder"))["model"] == "folder"
    with pytest.raises(ConfigurationError, match="cannot be written"):
        to_spec("backends", TransformersBackend(object(), tokenizer=object()))


def test_plugins_are_found_by_name_and_break_only_themselves(plugin):
    built = from_spec("strategies", {"name": "mine", "factor": 3.0})
    assert built == Mine(factor=3.0)
    assert to_spec("strategies", built) == {"name": "mine", "factor": 3.0}
    assert {"mine", "single-token"} <= set(names("strategies"))
    with pytest.raises(ConfigurationError, match="'broken'"):
        resolve("strategies", "broken")
    assert resolve("strategies", "single-token") is SingleToken


def test_what_is_not_registered_has_no_spec():
    with pytest.raises(ConfigurationError, match="no registered name"):
        to_spec("strategies", Mine())
    with pytest.raises(ConfigurationError, match="not a dataclass"):
        to_spec("strategies", object())


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("nothing", UnknownNameError, "Known: "),
        ({"size": 3}, InputError, "needs a name, and this has size"),
        ({"name": "single-token", "colour": 1}, InputError, "takes no"),
        ({"name": "sliding-window"}, InputError, "cannot be built"),
        ({"name": "sliding-window", "inner": "single-token", "size": 1}, InputError, "size"),
    ],
)
def test_bad_specs(spec, error, message):
    with pytest.raises(error, match=message):
        from_spec("strategies", spec)


def test_a_bare_name_where_an_annotation_wants_a_strategy(monkeypatch):
    monkeypatch.setitem(sys.modules, "my_plugin", sys.modules[__name__])
    points = EntryPoints([EntryPoint("around", "my_plugin:Around", "rerank_plugins.strategies")])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **kw: points.select(**kw))
    spec = {"name": "around", "outer": "pair-score", "rest": ["single-token"], "note": "pair-score"}
    built = from_spec("strategies", spec)
    assert built == Around(PairScore(), (SingleToken(),), "pair-score")
