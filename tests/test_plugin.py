"""The example plugin, installed as its users would install it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent / "examples" / "plugin"
PROGRAM = """
import json
from rerank_plugins import Reranker
from rerank_plugins.registry import names, to_spec
from rerank_plugins.testing import Oracle

spec = {"name": "first-sentence", "inner": "query-likelihood", "depth": 2}
reranker = Reranker(spec, Oracle(key=lambda query, passage: passage.count("flea")))
texts = ["a flea", "a flea. And more fleas, flea on flea", "no insects. flea flea flea flea"]
ranking = reranker.rank("flea", texts)
known = "first-sentence" in names("strategies")
print(json.dumps([ranking.order, to_spec("strategies", reranker.strategy), known]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(folder), str(PLUGIN)]
    subprocess.run([*command, *options], check=True, capture_output=True)
    return folder


def test_an_installed_strategy_goes_by_its_name(installed):
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\n{PROGRAM}"
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    order, spec, known = json.loads(found.stdout)
    assert order == [1, 0, 2]
    assert spec["name"] == "first-sentence"
    assert spec["inner"]["name"] == "query-likelihood"
    assert known


def test_it_is_one_file_and_one_line():
    files = [f.name for f in PLUGIN.iterdir() if f.suffix in (".py", ".toml")]
    assert sorted(files) == ["pyproject.toml", "rerank_first_sentence.py"]
    section = (PLUGIN / "pyproject.toml").read_text().partition('rerank_plugins.strategies"]\n')[2]
    assert section.partition("\n\n")[0].count("\n") == 0
