"""The built wheel: what is in it, and that a user's type checker reads it."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(folder))
    [built] = folder.glob("*.whl")
    return built


def test_it_holds_the_library_and_what_it_adds_to_the_frameworks(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for package in (
        "rerank_plugins",
        "haystack_integrations/components/rankers/rerank_plugins",
        "langchain_rerank_plugins",
        "llama_index/postprocessor/rerank_plugins",
    ):
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    # An __init__.py there would hide the frameworks' own packages.
    for namespace in (
        "haystack_integrations",
        "haystack_integrations/components",
        "haystack_integrations/components/rankers",
        "llama_index",
        "llama_index/postprocessor",
    ):
        assert f"{namespace}/__init__.py" not in names
    assert "rerank_plugins/CHANGELOG.md" in names
    assert "rerank_plugins/presets/checkpoints.toml" in names
    assert "rerank_plugins/evaluation/report/report.html.j2" in names
    assert "rerank_plugins/prompts/first.v1.toml" in names
    assert not [n for n in names if n.startswith(("tests", "examples", "models"))]


def test_it_holds_the_default_s_weights_and_fits_an_index(wheel):
    folder = "rerank_plugins/presets/minilm-late-interaction"
    assert {
        f"{folder}/{name}"
        for name in ("model_int8.onnx", "tokenizer.json", "config.json", "README.md", "NOTICE")
    } <= set(zipfile.ZipFile(wheel).namelist())
    assert wheel.stat().st_size < 60e6


def test_a_strict_type_checker_accepts_user_code(wheel, tmp_path):
    venv.create(tmp_path / "env", symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    zipfile.ZipFile(wheel).extractall(site)
    (site / "rest.pth").write_text(sysconfig.get_path("purelib"))
    user = tmp_path / "user_code.py"
    user.write_text((ROOT / "tests" / "typing" / "user_code.py").read_text())
    python = tmp_path / "env" / "bin" / "python"
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n")
    run(
        *(sys.executable, "-m", "mypy", "--python-executable", str(python)),
        *("--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), str(user)),
    )
