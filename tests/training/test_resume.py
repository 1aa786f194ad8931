"""Training that is interrupted, or cannot save, loses nothing that was saved."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from rerank_plugins import ConfigurationError, load_reranker
from rerank_plugins.training import Objective, TrainingList, TrainingOptions, train
from rerank_plugins.training._folder import newest_checkpoint

PASSAGES = ("a dog sleeps", "the flea lives two months", "a wolf hunts", "the sea")
ROWS = [
    TrainingList("how long lives a flea ?", PASSAGES, (0, 3, 1, 2), query_id="q"),
    TrainingList("the sea ?", PASSAGES, (0, 1, 0, 2), query_id="r"),
    TrainingList("the wolf ?", PASSAGES, (1, 0, 2, 0), query_id="s"),
]
OPTIONS = TrainingOptions(
    epochs=12,
    accumulate=2,
    learning_rate=3e-3,
    evaluate_every=4,
    device="cpu",
    objective=Objective(ranking="ranknet", lm_weight=0.0),
)
KILLED = """
import os, sys
sys.path.insert(0, sys.argv[3])
from test_resume import OPTIONS, ROWS
from rerank_plugins.training import _trainer, train

steps = 0
real = _trainer.batch_loss

def dying(*given):
    global steps
    steps += 1
    if steps > 21:  # in the eleventh optimiser step: after the checkpoint of the eighth
        os._exit(9)
    return real(*given)

_trainer.batch_loss = dying
train(sys.argv[1], "pair-score", ROWS, sys.argv[2], options=OPTIONS)
"""


def test_a_killed_run_goes_on_to_the_same_loss(encoder_folder, tmp_path, request):
    whole = train(encoder_folder, "pair-score", ROWS, tmp_path / "whole", options=OPTIONS)
    here = str(request.path.parent)
    arguments = [str(encoder_folder), str(tmp_path / "cut"), here]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert killed.returncode == 9
    assert newest_checkpoint(tmp_path / "cut" / "checkpoints").name == "checkpoint-8"
    assert not (tmp_path / "cut" / "reranker.json").exists()
    resumed = train(encoder_folder, "pair-score", ROWS, tmp_path / "cut", options=OPTIONS)
    assert resumed.steps == whole.steps == 18
    assert resumed.loss == pytest.approx(whole.loss, abs=1e-6)
    rankings = [
        load_reranker(tmp_path / name, device="cpu").rank(ROWS[0].query, PASSAGES)
        for name in ("whole", "cut")
    ]
    assert rankings[0].scores == pytest.approx(rankings[1].scores, abs=1e-5)


def safetensors_error():
    from safetensors import SafetensorError

    return SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )


FULL = {  # what was seen on a full disk
    "open": lambda: OSError(28, "No space left on device"),
    "torch": lambda: RuntimeError(
        "[enforce fail at inline_container.cc:672] . unexpected pos 25766720 vs 25766612"
    ),
    "safetensors": safetensors_error,
}


@pytest.mark.parametrize("kind", FULL)
def test_a_full_disk_leaves_the_last_checkpoint_whole(kind, encoder_folder, tmp_path, monkeypatch):
    import torch

    real = torch.save

    def filling(thing, path, *args, **kwargs):
        if "checkpoint-8" in str(path):
            with open(path, "wb") as file:
                file.write(b"half")
            raise FULL[kind]()
        return real(thing, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", filling)
    with pytest.raises(ConfigurationError, match=r"could not be written.*checkpoint-4"):
        train(encoder_folder, "pair-score", ROWS, tmp_path, options=OPTIONS)
    monkeypatch.undo()
    assert (tmp_path / "checkpoints" / "checkpoint-8").is_dir()
    assert newest_checkpoint(tmp_path / "checkpoints").name == "checkpoint-4"
    assert train(encoder_folder, "pair-score", ROWS, tmp_path, options=OPTIONS).steps == 18


@pytest.mark.parametrize("kind", ["open", "safetensors"])
def test_weights_that_cannot_be_written_cost_no_training(
    kind, encoder_folder, tmp_path, monkeypatch
):
    from transformers import PreTrainedModel

    real = PreTrainedModel.save_pretrained

    def full_at_the_end(model, folder, *args, **kwargs):
        if "checkpoint-" not in str(folder):
            raise FULL[kind]()
        return real(model, folder, *args, **kwargs)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full_at_the_end)
    with pytest.raises(ConfigurationError, match="checkpoints are intact"):
        train(encoder_folder, "pair-score", ROWS, tmp_path, options=OPTIONS)
    monkeypatch.undo()
    assert not (tmp_path / "reranker.json").exists()
    done = train(encoder_folder, "pair-score", ROWS, tmp_path, options=OPTIONS)
    assert done.steps == 18
    assert load_reranker(tmp_path, device="cpu").rank("sea", PASSAGES)


def test_patience_goes_on_where_it_was(encoder_folder, tmp_path, monkeypatch):
    """One validation without a gain before the kill and one after it: the end."""
    from rerank_plugins.training import _trainer

    found = iter([0.1, 0.9, 0.8])  # before, at step 4, at step 8
    rows = {"validation": ROWS, "options": replace(OPTIONS, patience=2)}
    monkeypatch.setattr(_trainer, "ndcg", lambda *_: next(found))
    with pytest.raises(StopIteration):  # at step 12
        train(encoder_folder, "pair-score", ROWS, tmp_path, **rows)
    monkeypatch.setattr(_trainer, "ndcg", lambda *_: 0.7)
    done = train(encoder_folder, "pair-score", ROWS, tmp_path, **rows)
    assert done.steps == 12
    assert done.ndcg == 0.9
    assert done.ndcg_before == 0.1


def test_a_checkpoint_whose_state_was_cut_is_passed_over(tmp_path):
    for number in (4, 8, 12):
        (tmp_path / f"checkpoint-{number}").mkdir()
    (tmp_path / "checkpoint-4" / "trainer_state.json").write_text(json.dumps({}) + "\n")
    (tmp_path / "checkpoint-8" / "trainer_state.json").write_text('{"a"')
    assert newest_checkpoint(tmp_path).name == "checkpoint-4"
    assert newest_checkpoint(tmp_path / "none") is None
