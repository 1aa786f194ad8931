"""What is published beside the library: thin distributions, and the page for Haystack's site."""

import re
import tomllib
from pathlib import Path

import pytest

import rerank_plugins

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path.parent for path in (ROOT / "distributions").glob("*/pyproject.toml"))
PAGE = ROOT / "distributions" / "haystack" / "rerank-plugins.md"
TEXTS = [PAGE, *(folder / "README.md" for folder in FOLDERS)]


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_thin_distribution_is_the_library_at_its_version(folder):
    own, library = project(folder), project(ROOT)
    version = rerank_plugins.__version__
    assert own["version"] == version
    assert own["dependencies"] == [f"rerank-plugins[{folder.name}]=={version}"]
    assert folder.name in library["optional-dependencies"]
    assert library["name"] in own["name"]
    assert library["requires-python"] == own["requires-python"]
    assert own["urls"].items() <= library["urls"].items()


def test_the_models_are_those_that_the_library_wants():
    models, [*wanted] = project(ROOT / "models"), project(ROOT)["optional-dependencies"]["models"]
    [least] = [w.partition(">=")[2] for w in wanted if w.startswith(models["name"])]
    assert models["version"].startswith(least)
    assert models["urls"].items() <= project(ROOT)["urls"].items()


def test_the_page_has_what_haystacks_site_asks_for():
    _, front, body = PAGE.read_text("utf-8").split("---\n", 2)
    fields = dict(re.findall(r"^(\w+): ?(.*)$", front, flags=re.MULTILINE))
    assert fields["layout"] == "integration"
    assert fields["type"] == "Ranker"
    assert fields["pypi"].rstrip("/").endswith(project(PAGE.parent)["name"])
    assert fields["repo"] == project(ROOT)["urls"]["Repository"]
    assert {"name", "description", "authors", "report_issue", "logo", "version", "toc"} <= set(
        fields
    )
    assert fields["logo"] == f"/logos/{PAGE.stem}.png"
    for part in re.findall(r"^- \[.*\]\(#(.*)\)$", body, flags=re.MULTILINE):
        assert re.search(rf"^## {part}$", body, flags=re.MULTILINE | re.IGNORECASE)
    png = (PAGE.parent / "logo.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png[16:24] == (256).to_bytes(4) * 2  # pixels


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text.parent.name}-{text.stem}")
def test_their_examples_run(text, capsys):
    pytest.importorskip("rerank_plugins_models")
    pytest.importorskip("sentence_transformers")
    [code] = re.findall(
        r"^```python\n(.*?)^```$", text.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    exec(compile(code, str(text), "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert printed.index("A flea") < printed.index("Cats")
