"""The page of promises names tests that exist, and has some for every promise of the README."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w./]+\.py)(?:::(\w+))?`")


def rows(mark):
    """The cells of each row of the table after a mark."""
    _, _, after = PAGE.partition(f"<!-- {mark} -->\n\n")
    table = after.partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


PROMISES, FAULTS = rows("promises"), rows("faults")


def test_there_are_promises_and_faults():
    assert len(PROMISES) > 25
    assert len(FAULTS) > 25


@pytest.mark.parametrize("row", [*PROMISES, *FAULTS], ids=lambda row: row[0][:40])
def test_every_promise_has_a_test_that_exists(row):
    promise, tests = row
    found = NAMED.findall(tests)
    assert promise
    assert found
    for path, name in found:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, (path, name)


def test_every_path_on_the_page_exists():
    assert all((ROOT / path).is_file() for path in re.findall(r"tests/[\w./]+\.py", PAGE))


def test_the_page_is_found():
    for file in ("README.md", "docs/index.md", "mkdocs.yml"):
        assert "promises.md" in (ROOT / file).read_text(encoding="utf-8")
