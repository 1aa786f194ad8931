"""Messages that list names: at most five, the nearest first, whatever is misspelled."""

import ast
import re
from pathlib import Path

import pytest

import rerank_plugins
from rerank_plugins import Limits, Reranker, RerankError, load_reranker
from rerank_plugins._checks import known_keys, nearest_of, one_of, some_of
from rerank_plugins.components import check_part, find_parts
from rerank_plugins.presets import find_named, preset_parts
from rerank_plugins.prompts import list_prompts, load_prompt
from rerank_plugins.registry import from_spec, names, resolve

ROOT = Path(rerank_plugins.__file__).parent


def of_feedback(method):
    from rerank_plugins.feedback import refine_query

    return refine_query([1.0, 0.0], [[1.0, 0.0]], order=[0], method=method)


def of_evaluation(measure):
    pytest.importorskip("ir_measures")
    from rerank_plugins.evaluation import evaluate

    return evaluate({"q": ["a"]}, {"q": {"a": 1}}, [measure])


def of_training(name, **options):
    pytest.importorskip("torch")
    from rerank_plugins.training.losses import ranking_loss

    return ranking_loss(name, **options)


MISSPELLED = {
    "strategy": (lambda: resolve("strategies", "slidin-window"), "sliding-window"),
    "strategy, by alias": (lambda: from_spec("strategies", "frst"), "first"),
    "backend": (lambda: resolve("backends", "transfomers"), "transformers"),
    "field of a strategy": (
        lambda: from_spec("strategies", {"name": "groupwise", "intervall": 3}),
        "interval",
    ),
    "field of a backend": (
        lambda: from_spec("backends", {"name": "transformers", "model": "m", "dtyp": "x"}),
        "dtype",
    ),
    "field of a nested strategy": (
        lambda: from_spec(
            "strategies", {"name": "first", "inner": {"name": "single-token", "promt": "x"}}
        ),
        "prompt",
    ),
    "checkpoint": (
        lambda: load_reranker("castorini/first_mistal"),
        "castorini/first_mistral",
    ),
    "checkpoint, short": (lambda: load_reranker("bge-rerank-base"), "BAAI/bge-reranker-base"),
    "preset": (lambda: preset_parts("ERank4B"), "Alibaba-NLP/ERank-4B"),
    "preset of a copy": (lambda: find_named("m", preset="ERank4B"), "Alibaba-NLP/ERank-4B"),
    "prompt": (lambda: load_prompt("first.v2"), "first.v1"),
    "key of a reranker's spec": (
        lambda: load_reranker({"strategy": "first", "bakend": "constant"}),
        "backend",
    ),
    "key of a model's spec": (
        lambda: load_reranker({"model": "first_mistral", "bas_url": "x"}),
        "base_url",
    ),
    "option of load_reranker": (lambda: load_reranker("first_mistral", devise="cpu"), "device"),
    "option of a component's backend": (
        lambda: find_parts({"model": "first_mistral", "devise": "cpu"}, None),
        "device",
    ),
    "limit": (lambda: Reranker("first", "constant", limits={"max_call": 1}), "max_calls"),
    "policy": (lambda: from_spec("strategies", {"name": "single-token", "policy": "kep"}), "keep"),
    "feedback method": (lambda: of_feedback("saef"), "safe"),
    "measure": (lambda: of_evaluation("nDCGG@10"), "nDCG"),
    "loss": (lambda: of_training("rank-net"), "ranknet"),
    "option of a loss": (lambda: of_training("listnet", temperatur=1.0), "temperature"),
}


@pytest.mark.parametrize("what", MISSPELLED)
def test_the_nearest_name_is_suggested_and_few_others(what):
    build, nearest = MISSPELLED[what]
    with pytest.raises(RerankError) as error:
        build()
    hint = error.value.hint
    assert nearest in hint
    lead = r"Did you mean|Known:|Give one of|It has|It takes"
    first = re.search(rf"(?:{lead}) (\S+?)[?,. ]", hint)
    assert first is not None, hint
    assert hint[first.start(1) :].startswith(nearest), hint
    sentence = hint[: hint.find("?") + 1 or len(hint)]
    assert len(re.split(r", | or | and ", sentence)) <= 6, hint  # five, and how many others


@pytest.mark.parametrize(
    "build",
    [
        lambda: resolve("strategies", "zzz"),
        lambda: load_reranker("zzz"),
        lambda: load_prompt("zzz"),
        lambda: one_of("x", "zzz", [f"name-{i}" for i in range(99)]),
        lambda: known_keys("it", [f"other-{i}" for i in range(99)], map(str, range(99))),
        lambda: check_part("ranker", len.__self__, inputs=["a"]),
        lambda: from_spec("strategies", {"name": "first", **{f"zz{i}": 1 for i in range(99)}}),
    ],
)
def test_no_message_is_a_dump(build):
    with pytest.raises(RerankError) as error:
        build()
    assert str(error.value).count(",") <= 10
    assert len(str(error.value)) < 420


def test_names_that_are_not_misspelled_are_found():
    for group in ("strategies", "backends"):
        for name in names(group):
            assert nearest_of(name, names(group)).startswith(f"Did you mean {name}")
    assert len(list_prompts()) > 5
    assert some_of([]) == ""
    assert some_of("abcde") == "a, b, c, d, e"
    assert some_of("abcdef") == "a, b, c, d, e and 1 other"
    assert Limits.__slots__


# Where names are joined in an error without a limit, because there are never more than five.
FEW = {
    "backends/_local/sharing.py": "the kinds of a model's layers",
    "backends/_onnx/encoder.py": "the outputs of a model",
    "backends/_onnx/session.py": "the inputs of a model",
    "backends/_vllm/backend.py": "vLLM's tasks of one model",
    "evaluation/_collection.py": "cut before",
    "jobs/_manifest.py": "the parts of a manifest",
    "jobs/ray/_rankings.py": "the parts of a job",
    "serving/_app.py": "the names of one service",
    "text.py": "the two or three scores of one passage",
}


def joins_in_errors(path):
    """Lines of a file where a list is joined inside of an error that is raised."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Attribute) and part.attr == "join":
                    yield part.lineno


def test_no_error_joins_names_without_a_limit():
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in ROOT.rglob("*.py")
        for line in joins_in_errors(path)
    }
    assert [place for place in sorted(found) if place.partition(":")[0] not in FEW] == []
