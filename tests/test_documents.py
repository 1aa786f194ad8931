"""The README and the documentation tell the truth: their code runs, their tables are the code's."""

import contextlib
import gc
import importlib
import json
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import newcomer
import pytest

import rerank_plugins
import rerank_plugins.strategies
from rerank_plugins.presets import write_saved
from rerank_plugins.strategies import PairScore

ROOT = Path(__file__).parent.parent


def blocks(page="README.md", kind="python"):
    """The blocks of a kind; nothing may stand beside it, such as a word that exempts a block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(.*?)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert {word for word, _ in fenced} <= {"python", "json"}
    return [code for word, code in fenced if word == kind]


@pytest.fixture
def application(smollm2_gguf, tmp_path, monkeypatch):
    """Where blocks run: ``model.gguf`` is SmolLM2, ``minilm`` an export; others have models."""
    core = pytest.importorskip("llama_index.core")
    (tmp_path / "model.gguf").symlink_to(smollm2_gguf)
    (tmp_path / "minilm").mkdir()
    exported = {"name": "onnx-cross-encoder", "model": "."}
    write_saved(tmp_path / "minilm", PairScore(), exported, {})
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
    module = ModuleType("my_package")  # later blocks build on earlier ones, and may import them
    monkeypatch.setitem(sys.modules, module.__name__, module)
    port = str(free_port())
    with service(page) as url:
        if url:
            monkeypatch.setenv("COHERE_API_KEY", "the-key")
        for code in blocks(page):
            code = code.replace("8080", port).replace(
                "http://localhost:8000", url or "http://localhost:8000"
            )
            exec(compile(code, str(page), "exec"), vars(module))
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


def test_every_strategy_is_in_both_tables():
    page = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    asked = page.partition("## Every strategy\n")[2].partition("\n## ")[0]
    measured = page.partition("<!-- generated -->")[2]
    for name in rerank_plugins.strategies.__all__:
        thing = getattr(rerank_plugins.strategies, name)
        if not hasattr(thing, "rank"):
            continue
        # Two add nothing to the order, one is FullList(constrained), the table's passages are short
        # and have no scores, and an oracle does not know a passage's vector without a query.
        added = ("Calibrated", "KeepOrder", "ConstrainedPermutation", "BestChunk", "When")
        added += ("PseudoQuery",)
        assert name in added or name in measured, name
        assert name == "ConstrainedPermutation" or f"`{name}" in asked, name


def test_the_readme_and_the_first_page_begin_alike():
    def front(page):
        text = (ROOT / page).read_text("utf-8").replace("](docs/", "](")
        return text.partition("## One line\n")[2].partition("[Choosing a strategy]")[0]

    assert front("README.md") == front("docs/index.md") != ""


def test_the_documentation_links_to_the_repository():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert f"repo_url: {urls['Repository']}\n" in (ROOT / "mkdocs.yml").read_text("utf-8")


@pytest.mark.parametrize(
    ("html", "fields"),
    [
        ("<p>:param query: The query. :returns: It.</p>", [":param query:", ":returns:"]),
        ("<li>:raises ValueError: So.</li>", [":raises ValueError:"]),
        ("<p><code>:param x:</code> is reST; returns: nothing</p>", []),
        ("<pre><code>def f():\n    :param x: y</code></pre><p>2:30, 3:15</p>", []),
    ],
)
def test_fields_that_are_not_rendered_are_found(html, fields, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    check = importlib.import_module("check")
    assert check.raw_fields(html) == fields
    pytest.importorskip("haystack_integrations")
    pytest.importorskip("llama_index")
    (tmp_path / "page.html").write_text(html, "utf-8")
    told = [line for line in check.problems(tmp_path) if "raw fields" in line]
    assert len(told) == bool(fields)


def test_a_public_name_without_an_entry_is_found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    check = importlib.import_module("check")
    public = {f"{m}.{name}" for m in check.MODULES for name in importlib.import_module(m).__all__}
    assert not check.without_entry(public)
    missing = "rerank_plugins.strategies.SingleToken"
    assert check.without_entry(public - {missing}) == [missing]
    assert not check.without_entry(public - {missing} | {f"{missing}.rank"})
