"""Everything a reader meets is in the words that Python and the field use.

The list names words of an older, private dialect. Each line is a pattern and what to write instead.
Run on some files alone: ``python tests/test_plain_english.py PATH ...``.
"""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORDS = {
    r"(?:either|both|each|own|which|the|without|one) colou?rs?\b": "sync or async",
    r"\bsick\b": "unhealthy",
    r"\bon trial\b": "probe",
    r"\bdearer\b|\bdearest\b|\ba dear\b|\bis dear\b|\bdear one\b": "expensive",
    r"\b(?:to|can(?:not)?|could|not|nothing) be had\b": "available, unavailable",
    r"\bgone? on with\b|\bgoes on with\b|\bgoing on with\b|\bwent on with\b": "resumed, continued",
    r"\b(?:go(?:es)?|went|going) on(?: where| after|;|\.|,| from)": "resume, continue",
    r"(?<!there )\b(?:is|are|be|was|were) no (?:number|path|string|strategy|list|file"
    r"|folder|probability|name"
    r"|model|backend|logit|chat|collection|plan|score|reranker|integer|directory|prompt|query|label"
    r"|encoder|adapter|dataclass|mapping|dictionary|passage|ranking)s?\b": "is not a ...",
    r"\bnobody waits\b": "cancelled",
    r"\bharmless\b|\binert\b": "escaped",
    r"\babilit(?:y|ies)\b": "capability",
    r"\bsomebody(?: else)?(?:'s)?\b": "someone else's, the caller's, third-party",
    r"(?<!-)\banew\b": "again, from scratch",
    r"\bbegun\b|\bbegan\b": "started",
    r"\bat the most\b": "at most",
    r"\bthe like\b": "similar",
    r"\bwherever\b": "where",
    r"\bthereof\b|\bwhereof\b|\bthereby\b|\bwhereby\b|\bhereby\b": "(say it plainly)",
    r"\bsurest\b": "most certain",
    r"\bwhat is (?:left|wrong|missing|there|known) is\b": "(say it plainly)",
    r"\bas(?: for)? `\w+`, (?:but|and)\b": "(say what differs)",
    r"\bthe same after\b": "(say what it does)",
    r"\blet(?:s)? go of\b": "cancelled, released",
    r"\blearn(?:s|t|ing)? (?:what|which|about|from) (?:the|a|one|its) server\b": "probe",
    r"\bis to be\b|\bare to be\b|\bwas to be\b": "should be, must be",
    r"\bspelt\b|\bspelled\b": "written",
}
"""Pattern, and what to write instead."""

ROOMS = (
    *("rerank_plugins", "integrations", "docs", "README.md", "examples", "benchmarks", "models"),
    ".github",
)
FIRST_LINES = re.compile(r"(?:What|Which|How many|How much|How|Whether|Where|Who) ")
"""A docstring's first line says what the thing is or does; a predicate may say Whether."""


def _texts(path):
    """Line numbers and texts that a reader meets: docstrings, comments and messages, or all."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(source.split("\n"), start=1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for k, line in enumerate(node.value.split("\n")):
                yield node.lineno + k, line


def findings(path):
    """What stands in a file that should be said otherwise."""
    for number, text in _texts(path):
        for pattern, better in WORDS.items():
            if found := re.search(pattern, text, re.IGNORECASE):
                yield f"{path}:{number}: {found[0]!r}: write {better!r}"
    if path.suffix == ".py":
        yield from _openings(path)


def _openings(path):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, kinds) or not (said := ast.get_docstring(node)):
            continue
        predicate = said.startswith("Whether ") and not isinstance(node, ast.Module)
        if FIRST_LINES.match(said) and not predicate:
            line = getattr(node, "lineno", 1)
            yield f"{path}:{line}: {said.splitlines()[0][:60]!r}: say what it is or does"


def _files(root):
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if path.suffix in (".py", ".md") and "__pycache__" not in path.parts:
            yield path


@pytest.mark.parametrize("room", ROOMS)
def test_no_word_of_the_list_is_used(room):
    assert [line for path in _files(ROOT / room) for line in findings(path)] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"""What it costs."""', "say what it is or does"),
        ('"""Whether it is a module."""', "say what it is or does"),
        ("# a sick server", "unhealthy"),
        ('error = "the file is no number"', "is not a ..."),
    ],
)
def test_the_list_finds_what_it_is_for(tmp_path, text, said):
    path = tmp_path / "sample.py"
    path.write_text(text + "\n")
    assert [line for line in findings(path) if said in line]


def test_ordinary_words_pass(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text('"""Cost of a ranking."""\n\n# there is no file: begin again, and go on foot\n')
    assert list(findings(path)) == []


def main():
    """Print the findings in the given files and folders."""
    found = [
        line for root in sys.argv[1:] for path in _files(Path(root)) for line in findings(path)
    ]
    print(*found, f"{len(found)} to mend", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
