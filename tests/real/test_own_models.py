"""The rerankers of rerank-plugins-models."""

import importlib.util
import json
from pathlib import Path

import pytest

from rerank_plugins import InputError, MissingExtraError, Passage, load_reranker
from rerank_plugins._shipped import PACKAGE
from rerank_plugins.presets import find_preset, package_folder, saved_parts

QUERY = "how long does a flea live?"
PASSAGES = [
    "Wolves hunt in packs of six to ten animals.",
    "Cats sleep for most of the day.",
    "A flea lives for two to three months, and longer where it is cool.",
    "The sea covers most of the earth.",
]
CROSS_ENCODER = "rerank-plugins/minilm-cross-encoder"
FIRST = "rerank-plugins/smollm2-first"
needs_models = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason="no models: pip install ./models"
)


@needs_models
def test_the_cross_encoder_ranks_texts_alone():
    reranker = load_reranker(CROSS_ENCODER, device="cpu")
    ranking = reranker.rank(QUERY, PASSAGES)
    assert ranking.order[0] == 2
    assert ranking.score_kind == "logit"
    assert ranking.usage.calls == 4


@needs_models
def test_the_cross_encoder_keeps_to_a_sure_retriever():
    """Scores of the first stage take part; texts without any are ranked by the model alone."""
    sure = [Passage(text, score=score) for text, score in zip(PASSAGES, (9, 1, 1, 1), strict=True)]
    ranking = load_reranker(CROSS_ENCODER, device="cpu").rank(QUERY, sure)
    assert ranking.score_kind == "z-score"
    assert set(ranking.order[:2]) == {0, 2}
    alone = load_reranker(CROSS_ENCODER, strategy="pair-score", device="cpu").rank(QUERY, sure)
    assert alone.score_kind == "logit"


@needs_models
def test_first_ranks_a_window_by_content_in_one_forward_pass(smollm2_gguf):
    """In any place of the relevant passage: first three times of four, never below the second."""
    reranker = load_reranker(FIRST, base=smollm2_gguf, device="cpu")
    places = []
    for shift in range(4):
        passages = PASSAGES[shift:] + PASSAGES[:shift]
        ranking = reranker.rank(QUERY, passages)
        places.append(ranking.order.index(passages.index(PASSAGES[2])))
        assert ranking.usage.calls == 1
        assert ranking.usage.generated_tokens == 0
    assert places.count(0) >= 3  # its base: once
    assert max(places) <= 1


@needs_models
@pytest.mark.parametrize("name", [CROSS_ENCODER, FIRST])
def test_the_preset_says_what_the_package_holds(name):
    preset = find_preset(name)
    folder = package_folder(preset["package"], name)
    strategy, backend = saved_parts(folder)
    assert backend.pop(preset["package_holds"]) == str(folder)
    spec = json.loads((folder / "reranker.json").read_text("utf-8"))
    trained = preset["strategy"] if name == FIRST else preset["strategy"]["inner"]
    assert spec["strategy"]["name"] == trained["name"]
    assert (folder / "README.md").is_file()
    if name == FIRST:
        for key in ("size", "stride"):
            assert strategy[key] == preset["strategy"][key]
        assert strategy["inner"]["prompt"] == preset["strategy"]["inner"]["prompt"]
        return
    assert preset["backend"]["max_tokens"] == spec["backend"]["max_tokens"]
    card = (folder / "README.md").read_text("utf-8")
    alpha = preset["strategy"]["alpha"]
    assert f"{alpha} of theirs and {1 - alpha} of its own" in card


@needs_models
def test_weights_are_small_and_no_pickle():
    folder = Path(importlib.util.find_spec(PACKAGE).origin).parent
    weights = [p for p in folder.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in weights) < 90e6  # a wheel that PyPI takes
    assert max(p.stat().st_size for p in weights) < 50e6
    assert not [p for p in weights if p.suffix in (".bin", ".pt", ".pkl", ".pickle")]


def test_without_the_package_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr("rerank_plugins._shipped.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"rerank-plugins\[models\]"):
        load_reranker(CROSS_ENCODER)


def test_a_base_is_for_adapters(tmp_path):
    with pytest.raises(InputError, match="adapter"):
        load_reranker("castorini/first_mistral", base=tmp_path)
