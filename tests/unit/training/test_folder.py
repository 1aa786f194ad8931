"""The folder of a training run: claimed, refused, resumed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rerank_plugins import ConfigurationError, InputError
from rerank_plugins.strategies import PairScore
from rerank_plugins.training import TrainingList, TrainingOptions
from rerank_plugins.training._folder import (
    alone,
    check_output,
    identity,
    is_disk_error,
    newest_checkpoint,
    prepare,
)

MODEL = torch.nn.Linear(2, 2)
ROW = TrainingList("flea", ("a dog", "a flea"), (0, 1))


def run_of(rows=(ROW,), **options):
    return identity("base", PairScore(), rows, (), TrainingOptions(**options))


def started(folder: Path):
    """A folder in which a run has left a checkpoint."""
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    return folder


def test_a_run_is_known_by_its_model_lists_and_options():
    assert run_of() == run_of(resume=False, device="cpu")
    assert run_of() != run_of(seed=1)
    other = TrainingList("flea", ("a dog", "a flea"), (1, 0))
    differing = {k for k, v in run_of((other,)).items() if v != run_of()[k]}
    assert differing == {"lists"}
    assert json.loads(json.dumps(run_of())) == run_of()


def test_a_run_s_file_is_stamped(tmp_path):
    folder = tmp_path / "out"
    prepare(folder, run_of(), MODEL, resume=True)
    held = json.loads((folder / "training.json").read_text("utf-8"))
    assert (held["format"], held["version"]) == ("rerank-plugins training", 1)
    assert {k: held[k] for k in run_of()} == run_of()
    assert [path.name for path in folder.iterdir()] == ["training.json"]


def test_files_of_earlier_versions_name_no_version(tmp_path):
    file = started(tmp_path) / "training.json"
    file.write_text(json.dumps({"format": "rerank-plugins training", **run_of()}))
    prepare(tmp_path, run_of(), MODEL, resume=True)
    with pytest.raises(InputError, match=r"differs in learning_rate, seed.*--anew"):
        prepare(tmp_path, run_of(seed=1, learning_rate=0.1), MODEL, resume=True)
    assert (tmp_path / "checkpoints" / "checkpoint-1").is_dir()
    prepare(tmp_path, run_of(seed=1), MODEL, resume=False)
    assert json.loads(file.read_text("utf-8"))["seed"] == 1
    assert not (tmp_path / "checkpoints").exists()


def test_another_format_is_not_touched(tmp_path):
    file = tmp_path / "training.json"
    file.write_text('{"format": "of another program"}')
    for resume in (True, False):
        with pytest.raises(InputError, match="not made by a training run"):
            prepare(tmp_path, run_of(), MODEL, resume=resume)
    assert file.read_text() == '{"format": "of another program"}'


@pytest.mark.parametrize("damage", ["{", "[" * 100_000], ids=["cut", "deep"])
def test_a_damaged_file_of_a_run(tmp_path, damage):
    (started(tmp_path) / "training.json").write_text(damage)
    with pytest.raises(InputError, match=r"training.json' is damaged\. Give another folder, or"):
        prepare(tmp_path, run_of(), MODEL, resume=True)
    prepare(tmp_path, run_of(), MODEL, resume=False)
    assert json.loads((tmp_path / "training.json").read_text("utf-8"))["seed"] == 42


def test_a_file_of_a_run_that_cannot_be_read(tmp_path, monkeypatch):
    (started(tmp_path) / "training.json").write_text("{}")

    def read_text(path, *arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(InputError, match=r"cannot read .*training.json.*Permission denied"):
        prepare(tmp_path, run_of(), MODEL, resume=True)


def test_weights_that_two_patterns_name_are_removed_once(tmp_path):
    started(tmp_path)
    (tmp_path / "training.json").write_text(
        json.dumps({"format": "rerank-plugins training", **run_of()})
    )
    (tmp_path / "adapter_model.safetensors").write_text("weights")
    (tmp_path / "mine.txt").write_text("kept")
    prepare(tmp_path, run_of(), MODEL, resume=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "training.json"]


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    prepare(tmp_path / "out", run_of(), MODEL, resume=True)
    assert not (tmp_path / "out").exists()


def test_two_checkpoints_must_fit(tmp_path, monkeypatch):
    """Six weights, each with two moments, four bytes each, twice: 144 bytes."""
    for free, fits in ((144, True), (143, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if fits:
            prepare(tmp_path, run_of(), MODEL, resume=True)
        else:
            with pytest.raises(ConfigurationError, match="Free some space"):
                prepare(tmp_path, run_of(), MODEL, resume=True)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        prepare(tmp_path / "file" / "out", run_of(), MODEL, resume=True)


def test_outputs_that_cannot_be_one(tmp_path):
    with pytest.raises(InputError, match="has no name"):
        check_output("base", "")
    with pytest.raises(InputError, match="overwritten"):
        check_output(tmp_path, tmp_path / "x" / "..")
    assert check_output("base", str(tmp_path)) == tmp_path


def test_checkpoints_are_numbered_and_whole(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11", "checkpoint-best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text("{}\n")
    (tmp_path / "checkpoint-11" / "trainer_state.json").write_text("{")
    (tmp_path / "checkpoint-12").write_text("a file")
    assert newest_checkpoint(tmp_path).name == "checkpoint-10"
    assert newest_checkpoint(tmp_path / "none") is None


def test_errors_of_a_full_disk():
    assert is_disk_error(OSError(28, "No space left on device"))
    assert is_disk_error(RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"))
    assert not is_disk_error(RuntimeError("CUDA out of memory"))
    assert not is_disk_error(ValueError("os error"))


def in_another_process(folder, work):
    """A process that has taken a folder; ``work`` is what it does then."""
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from rerank_plugins.training._folder import alone\n"
        f"with alone(Path(sys.argv[1])):\n    print('taken', flush=True)\n    {work}\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "taken\n"
    return process


def test_two_runs_are_kept_apart_and_a_killed_one_does_not_block_the_next(tmp_path):
    folder = tmp_path / "out"
    with in_another_process(folder, "time.sleep(600)") as other:
        try:
            with (
                pytest.raises(InputError, match=r"another run is training in .*Wait until it ends"),
                alone(folder),
            ):
                pytest.fail("two runs in one folder")
        finally:
            other.kill()
            other.wait()
    with alone(folder):
        prepare(folder, run_of(), MODEL, resume=True)
    with alone(folder):  # and one that ended by itself does not either
        prepare(folder, run_of(), MODEL, resume=True)


def test_two_threads_are_kept_apart(tmp_path):
    with alone(tmp_path), pytest.raises(InputError, match="another run"), alone(tmp_path):
        pytest.fail("two runs in one folder")


def test_an_error_frees_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), alone(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []  # nothing is left in a folder that was not claimed
    with alone(tmp_path):
        pass


def test_other_processes_of_a_run_take_no_lock(tmp_path, monkeypatch):
    with alone(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with alone(tmp_path):
            pass


def test_a_folder_that_cannot_be_locked(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"), alone(tmp_path / "file"):
        pytest.fail("this is a file")
