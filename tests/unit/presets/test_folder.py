"""Folders of trained rerankers: written, read again, and refused where they ask for too much."""

import json

import pytest

from rerank_plugins import InputError, ModelLoadError, load_reranker
from rerank_plugins.presets import find_preset, is_saved, saved_parts, write_saved
from rerank_plugins.registry import from_spec
from rerank_plugins.strategies import SingleToken, SlidingWindow

STRATEGY = SlidingWindow(inner=SingleToken(prompt="short-letters.v1"), size=10, stride=5)
BACKEND = {"name": "transformers", "model": "base/x", "adapter": "."}
# As the first version of the library wrote it.
TEXT = """{
 "format": "rerank-plugins reranker",
 "version": 1,
 "strategy": {
  "name": "sliding-window",
  "inner": {
   "name": "single-token",
   "prompt": "short-letters.v1",
   "policy": "keep_order"
  },
  "size": 10,
  "stride": 5,
  "passes": 1
 },
 "backend": {
  "name": "transformers",
  "model": "base/x",
  "adapter": "."
 },
 "about": {
  "figure": 0.5,
  "name": "é"
 }
}
"""


@pytest.fixture
def folder(tmp_path):
    write_saved(tmp_path, STRATEGY, BACKEND, {"figure": 0.5, "name": "é"})
    return tmp_path


def test_what_is_written_is_read(folder):
    assert (folder / "reranker.json").read_text("utf-8") == TEXT
    assert [path.name for path in folder.iterdir()] == ["reranker.json"]
    strategy, backend = saved_parts(folder)
    assert from_spec("strategies", strategy) == STRATEGY
    assert backend == {**BACKEND, "adapter": str(folder)}
    assert is_saved(folder)
    assert not is_saved(folder / "elsewhere")


def test_a_folder_is_a_preset_of_its_own(folder):
    preset = find_preset(str(folder))
    assert preset["backend"]["adapter"] == str(folder)
    reranker = load_reranker(folder, base="another/base")
    assert reranker.strategy == STRATEGY
    assert (reranker.backend.model, reranker.backend.adapter) == ("another/base", str(folder))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        (TEXT.replace("reranker", "index", 1), "not a file of the format"),
        (
            TEXT.replace('"version": 1', '"version": 2'),
            "is of version 2, expected 1.*make it again",
        ),
        (TEXT.replace('"backend"', '"end"'), "has no backend"),
        (TEXT.replace('"transformers"', '"openai"'), "names a plugin or a server"),
        (TEXT.replace('"strategy"', '"other"'), "names a plugin or a server"),
        (TEXT.replace('"base/x"', "3"), "a model that is not a string"),
        (TEXT.replace("short-letters.v1", "/any/file.toml"), "a file of prompts"),
        (TEXT.replace('"model"', '"device"'), "sets device"),
    ],
)
def test_files_that_are_refused(folder, text, says):
    if text is None:
        (folder / "reranker.json").unlink()
    else:
        (folder / "reranker.json").write_text(text, "utf-8")
    with pytest.raises(ModelLoadError, match=says):
        saved_parts(folder)


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*reranker\.json"):
        write_saved(tmp_path / "no", STRATEGY, BACKEND, {})


def test_a_prompt_inside_the_file_is_data(folder):
    spec = json.loads(TEXT)
    prompt = {"name": "listwise-prompt", "passage": "{passage}"}
    spec["strategy"]["inner"]["prompt"] = prompt
    (folder / "reranker.json").write_text(json.dumps(spec))
    strategy, _ = saved_parts(folder)
    assert strategy["inner"]["prompt"] == prompt
