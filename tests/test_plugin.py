"""The example plugin, installed as its users would install it, and the tutorial's."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rerank_plugins.strategies import QueryLikelihood
from rerank_plugins.testing import StrategyContract

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "examples" / "plugin"
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


class TestFirstSentence(StrategyContract):
    holds = 1

    @pytest.fixture
    def strategy(self):
        spec = importlib.util.spec_from_file_location("first", PLUGIN / "rerank_first_sentence.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.FirstSentence(QueryLikelihood())


def test_the_tutorial_s_parts_keep_the_contracts_as_printed(tmp_path):
    page = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    strategy, backend, tests = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "my_package.py").write_text(strategy + backend, "utf-8")
    (tmp_path / "test_my_package.py").write_text(tests, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert found.returncode == 0, found.stdout
    assert re.search(r"^2\d passed", found.stdout, re.MULTILINE)  # of both contracts
