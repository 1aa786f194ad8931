"""The README and the documentation tell the truth: their code runs, their tables are the code's."""

import contextlib
import gc
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import newcomer
import pytest

import rerank_plugins
import rerank_plugins.strategies

ROOT = Path(__file__).parent.parent


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


def pages():
    return sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_python_block_of_the_documents_runs(page, application, monkeypatch):
    namespace: dict[str, object] = {"__name__": "page"}  # later blocks build on earlier ones
    port = str(free_port())
    with service(page) as url:
        if url:
            monkeypatch.setenv("COHERE_API_KEY", "the-key")
        for code in blocks(page):
            code = code.replace("8080", port).replace(
                "http://localhost:8000", url or "http://localhost:8000"
            )
            exec(compile(code, str(page), "exec"), namespace)
    if url:
        close_clients()


def close_clients():
    """Close every connection: most clients of others have no method for it."""
    httpx, requests = pytest.importorskip("httpx"), pytest.importorskip("requests")
    for thing in gc.get_objects():
        if issubclass(type(thing), httpx.Client | requests.Session):
            thing.close()


def service(page):
    """The service of the page about it, for a key."""
    if page.stem != "serving":
        return contextlib.nullcontext("")
    pytest.importorskip("fastapi")
    from rerank_service import by_length, running

    return running(by_length(), api_key="the-key")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_block_of_each_kind_is_tried_as_by_a_newcomer():
    found = [kind for page in newcomer.PAGES for kind, _ in newcomer.blocks(page)]
    assert set(found) == set(newcomer.KINDS)
    marks = [(ROOT / page).read_text("utf-8").count("<!-- newcomer:") for page in newcomer.PAGES]
    assert len(found) == sum(marks)  # each mark is just before its block


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_json_block_of_the_documents_is_json(page):
    for text in blocks(page, "json"):
        json.loads(text)


def test_the_table_of_checkpoints_is_the_code_s():
    script = ROOT / "docs" / "tables.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0


def test_every_class_that_ranks_is_in_the_map_of_papers():
    papers = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    ours = {"Cascade", "Blend", "Hybrid", "KeepOrder", "ConstrainedPermutation", "Head", "When"}
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
        # Two add nothing to the order, one is FullList(constrained), and the table's passages are
        # short and have no scores.
        added = ("Calibrated", "KeepOrder", "ConstrainedPermutation", "BestChunk", "When")
        assert name in added or name in measured, name
        assert name == "ConstrainedPermutation" or f"`{name}" in readme, name
