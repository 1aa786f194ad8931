"""Manifests: what they note, and files of the first version, which are still resumed."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import InputError, Limits, Reranker, Usage
from rerank_plugins._checks import fits
from rerank_plugins.jobs import Jsonl, Query, manifest_path, rank_file, read_manifest
from rerank_plugins.jobs._manifest import Manifest, claim_file, manifest_of
from rerank_plugins.strategies import PairScore, SingleToken, SlidingWindow
from rerank_plugins.testing import Oracle

# As the first version of the library wrote it, after three queries.
TEXT = """{
 "format": "rerank-plugins run",
 "version": 1,
 "reranker": {
  "strategy": {
   "name": "pair-score",
   "titled": "{title} {passage}"
  },
  "backend": "Oracle",
  "on_error": "raise",
  "limits": null
 },
 "prompts": {},
 "settings": {
  "format": "Jsonl()",
  "top_k": null,
  "batch_size": 1
 },
 "packages": {
  "rerank-plugins": "0.1.0"
 },
 "python": "3.11.7",
 "queries": 3,
 "fallbacks": 1,
 "usage": {
  "calls": 15,
  "searches": 0,
  "batches": 3,
  "prompt_tokens": 180,
  "generated_tokens": 0,
  "seconds": 0.5
 },
 "finished": false
}
"""


def reranker():
    return Reranker(PairScore(), Oracle(remember=False))


def requests(n):
    return [Query(f"q{i}", f"query {i}", tuple("abcde"), None) for i in range(n)]


def test_a_file_of_the_first_version_is_resumed(tmp_path):
    path = tmp_path / "out.jsonl"
    rank_file(requests(3), reranker(), path, Jsonl())
    manifest_path(path).write_text(TEXT)
    counts = rank_file(requests(5), reranker(), path, Jsonl())
    assert (counts.skipped, counts.ranked, counts.usage.calls) == (3, 2, 10)
    manifest = read_manifest(path)
    assert (manifest.queries, manifest.fallbacks, manifest.usage.calls) == (5, 1, 25)
    assert manifest.usage.seconds > 0.5
    assert manifest.finished
    assert manifest.packages == {"rerank-plugins": "0.1.0"}


def test_what_a_manifest_notes(tmp_path):
    strategy = SlidingWindow(inner=SingleToken(prompt="first.v1"))
    built = Reranker(strategy, Oracle(), on_error="keep_order", limits=Limits(max_calls=5))
    manifest = manifest_of(built, {"top_k": 3})
    assert manifest.reranker["strategy"]["inner"]["name"] == "single-token"
    assert manifest.reranker["on_error"] == "keep_order"
    assert manifest.reranker["limits"]["max_calls"] == 5
    assert set(manifest.prompts) == {"first.v1"}
    assert manifest.settings == {"top_k": 3}
    manifest = manifest.with_cost(2, 1, Usage(calls=4)).with_cost(1, 0, Usage(calls=1))
    assert (manifest.queries, manifest.fallbacks, manifest.usage.calls) == (3, 1, 5)
    manifest.write(manifest_path(tmp_path / "x"))
    assert read_manifest(tmp_path / "x") == json_of(manifest)


def json_of(manifest):
    """The manifest with lists in the place of tuples."""
    return type(manifest)(
        **{
            name: value if name == "usage" else json.loads(json.dumps(value))
            for name in type(manifest).__slots__
            for value in [getattr(manifest, name)]
        }
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "has no manifest"),
        ("{", "damaged"),
        (TEXT.replace("run", "index", 1), "not a file of the format 'rerank-plugins run'"),
        (TEXT.replace(": 1,", ": 9,", 1), "is of version 9, expected 1"),
        (TEXT.replace('"usage"', '"costs"'), "has no usage"),
        (TEXT.replace('"calls"', '"asked"'), "is damaged: .*asked"),
        (TEXT.replace('"prompts"', '"texts"'), "is damaged: .*texts"),
    ],
)
def test_manifests_that_are_refused(tmp_path, text, says):
    if text is not None:
        manifest_path(tmp_path / "out").write_text(text)
    with pytest.raises(InputError, match=says):
        read_manifest(tmp_path / "out")


def test_a_file_belongs_to_one_reranker(tmp_path):
    path = tmp_path / "out"
    path.touch()
    first = claim_file(path, manifest_of(reranker(), {"top_k": None}))
    assert claim_file(path, manifest_of(reranker(), {"top_k": None})) == read_manifest(path)
    other = Reranker(PairScore(titled="{title}: {passage}"), Oracle())
    with pytest.raises(InputError, match="was started with other reranker and settings"):
        claim_file(path, manifest_of(other, {"top_k": 1}))
    path.unlink()  # only the manifest is left: the file is new
    assert claim_file(path, manifest_of(other, {"top_k": 1})) != first


WRONG = [None, True, 7, -0.5, "text", [], {}, [1, "a"], {"a": 1}, [[]], float("nan"), 10**400]
NAMES = [(name,) for name in json.loads(TEXT)] + [("usage", n) for n in json.loads(TEXT)["usage"]]


@given(at=st.sampled_from(NAMES), value=st.sampled_from(WRONG), removed=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_manifest_is_an_input_error_or_right(tmp_path, at, value, removed):
    values = json.loads(TEXT)
    holder = values["usage"] if len(at) == 2 else values
    del holder[at[-1]]
    if not removed:
        holder[at[-1]] = value
    beside = manifest_path(tmp_path / "out.jsonl")
    beside.write_text(json.dumps(values))
    try:
        found = read_manifest(tmp_path / "out.jsonl")
    except InputError as error:
        assert str(beside) in str(error)  # noqa: PT017
    else:
        assert fits(found, Manifest)
        found.with_cost(1, 1, Usage(calls=1, seconds=1.0)).write(beside)


@given(data=st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_bytes_of_a_manifest(tmp_path, data):
    start = data.draw(st.integers(0, len(TEXT)))
    stop = data.draw(st.integers(start, min(len(TEXT), start + 40)))
    whole = TEXT.encode()
    beside = manifest_path(tmp_path / "out.jsonl")
    beside.write_bytes(whole[:start] + data.draw(st.binary(max_size=20)) + whole[stop:])
    try:
        assert fits(read_manifest(tmp_path / "out.jsonl"), Manifest)
    except InputError as error:
        assert str(beside) in str(error)  # noqa: PT017


def test_a_device_or_a_folder_is_no_output(tmp_path):
    """`/dev/full` can be read without end."""
    for path in ("/dev/full", tmp_path):
        with pytest.raises(InputError, match="a folder, a pipe or a device"):
            rank_file([Query("q", "flea", ("a",), None)], reranker(), path, Jsonl())
    assert not list(tmp_path.iterdir())
