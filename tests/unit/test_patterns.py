"""No pattern of the library takes more than linear time, whatever text it is given.

The patterns are collected from the source; attacks are derived from the pattern itself.
"""

import ast
import gc
import importlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rerank_plugins
from rerank_plugins._content import answer_text
from rerank_plugins.backends._answers import failures
from rerank_plugins.backends._answers.failures import failure, named, too_long
from rerank_plugins.backends._prompts import renderer
from rerank_plugins.backends._prompts.messages import escape
from rerank_plugins.parsing import parse_grade, parse_grades, parse_label, parse_permutation
from rerank_plugins.text import count_words, escape_identifiers, limit_words, plain_characters
from rerank_plugins.training.data import _zephyr
from rerank_plugins.training.rewards import answer_of

ROOT = Path(rerank_plugins.__file__).parent
SMALL, MIDDLE, LARGE = 1_000, 10_000, 100_000
MOST_GROWTH = 25  # for ten times the text
MOST_SECONDS = 1.0  # for the largest
TOO_SHORT = 0.01  # seconds; such times are noise
GENERAL = [
    *' \n\ta1A.,:;>-[](){}<|"`*\0\u0301\uff12\u3010',
    "word ",
    "[1] ",
    "\n\n1",
    "a\n\n",
    "> [",
]


def files() -> Iterator[tuple[str, ast.Module]]:
    folders = [ROOT, ROOT.parent / "integrations"]
    for path in sorted(found for folder in folders for found in folder.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text(encoding="utf-8"))


def uses_re(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr != "escape"
    )


def in_functions() -> set[str]:
    """Where a pattern is made when a function runs."""
    return {
        f"{name}.{function.name}"
        for name, tree in files()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        if any(map(uses_re, ast.walk(function)))
    }


def patterns_in(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict | list | tuple | set | frozenset):
        for item in value.values() if isinstance(value, dict) else value:
            yield from patterns_in(item)


def compiled() -> dict[str, re.Pattern[str]]:
    """Every pattern that a module holds, by its name."""
    found = {}
    for name, tree in files():
        if any(map(uses_re, ast.walk(tree))):
            module = importlib.import_module(name)
            for label, value in vars(module).items():
                for i, pattern in enumerate(patterns_in(value)):
                    found[f"{name}.{label}[{i}]"] = pattern
    return found


PATTERNS = compiled()
WORDS = [*GENERAL, "Passage", "Passage 1 ", "</think>", "<think>", "Search Query: ", "[1]\n", "sk-"]
_HIDING = failures._pattern(("a/key+1234567890",)) or re.compile("")
_MARKS = renderer._any_of(map(renderer.Mark, ("<|im_start|>", "<|im_end|>", "</s>", "USER:")))
# Functions that make patterns when they run, and those that give text from outside to patterns.
FUNCTIONS: dict[str, Callable[[str], object]] = {
    "rerank_plugins.text.escape_identifiers": lambda t: escape_identifiers(t, "numbers", "Passage"),
    "rerank_plugins.backends._answers.failures.named": lambda t: named(t, {"logprobs", "stop"}),
    "rerank_plugins.backends._answers.failures._pattern": lambda t: _HIDING.findall(t),
    "rerank_plugins.backends._prompts.renderer._any_of": lambda t: _MARKS.findall(t),
    "rerank_plugins.backends._prompts.renderer._patterns": lambda t: _MARKS.findall(t),
    "rerank_plugins.training.rewards.answer_of": lambda t: answer_of("<think>" + t, "think"),
    "rerank_plugins.training.data._zephyr._passages": lambda t: _shown(t),
}
READERS: dict[str, Callable[[str], object]] = {
    "numbers": lambda t: parse_permutation(t, 20),
    "letters": lambda t: parse_permutation(t, 20, "letters"),
    "label": lambda t: parse_label(t, 20, "letters"),
    "grade": lambda t: parse_grade(t),
    "grades": lambda t: parse_grades(t, 20, reasoning=False),
    "reasoning": lambda t: answer_text(t, reasoning=True),
    "characters": plain_characters,
    "letters in a document": lambda t: escape_identifiers(t, "letters", "Passage"),
    "limit": lambda t: (limit_words(t, 100), count_words(t)),
    "control tokens": escape,
    "failure": lambda t: (failure(ValueError(t)), too_long(t)),
    "too long": lambda t: too_long("maximum context length is 9 tokens" + t),
}


def _shown(text: str) -> object:
    try:
        return _zephyr._passages(text, "numbers", 20)
    except rerank_plugins.InputError:
        return None


def inner(kind: str, value: object) -> list[object]:
    """The parts of a part of a parsed pattern."""
    if kind == "BRANCH":
        return list(value[1])  # type: ignore[index]
    if kind.endswith("_REPEAT"):
        return [value[2]]  # type: ignore[index]
    if kind == "SUBPATTERN":
        return [value[3]]  # type: ignore[index]
    return [value] if kind == "ATOMIC_GROUP" else []


def example(tree: object) -> str:
    """A short text that the parsed pattern matches, or nearly."""
    made = ""
    for kind, value in tree:  # type: ignore[attr-defined]
        name = str(kind)
        if parts := inner(name, value):
            made += example(parts[0]) * (max(value[0], 1) if name.endswith("_REPEAT") else 1)
        elif name == "IN":
            made += member(value)
        elif name in ("LITERAL", "NOT_LITERAL", "ANY"):
            made += chr(value) if name == "LITERAL" else "x"
    return made


def member(choices: list[tuple[object, object]]) -> str:
    classes = {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}
    others = {"CATEGORY_NOT_SPACE": "a", "CATEGORY_NOT_DIGIT": "a", "CATEGORY_NOT_WORD": " "}
    for kind, value in choices:
        match str(kind):
            case "LITERAL":
                return chr(value)  # type: ignore[arg-type]
            case "RANGE":
                return chr(value[0])  # type: ignore[index]
            case "CATEGORY":
                return (classes | others)[str(value)]
    return "x"  # a negated class


def branches(tree: object) -> Iterator[str]:
    """Examples of every alternative and every repeated part of a pattern."""
    for kind, value in tree:  # type: ignore[attr-defined]
        for part in inner(str(kind), value):
            yield example(part)
            yield from branches(part)


def attacks(pattern: re.Pattern[str]) -> list[tuple[str, str, str]]:
    """Beginnings, repeated parts and ends of texts."""
    tree = re._parser.parse(pattern.pattern, pattern.flags & re.VERBOSE)  # type: ignore[attr-defined]
    whole = example(tree)
    parts = {part for part in [*branches(tree), whole, whole[:-1]] if part}
    heads = {"", whole, whole[:-1], whole[: len(whole) // 2]}
    found = [(head, part, end) for head in heads for part in parts for end in ("", "\0")]
    found += [(head, part, "\0") for head in ("", whole[:-1]) for part in GENERAL]
    found += [("", part + other, "\0") for part in parts for other in " \na1"]
    return sorted(set(found))


def seconds(run: Callable[[str], object], text: str, times: int) -> float:
    """The shortest time without the garbage collector, whose work grows with the whole process."""
    spent = []
    gc.disable()
    try:
        for _ in range(times):
            start = time.process_time()
            run(text)
            spent.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(spent)


def text_of(attack: tuple[str, str, str], size: int) -> str:
    head, part, end = attack
    return head + part * (max(size - len(head) - len(end), 1) // len(part)) + end


def check(run: Callable[[str], object], given: list[tuple[str, str, str]]) -> None:
    """Fail if an attack takes more than linear time."""
    suspects = []
    for attack in given:
        for repeats in range(8, 42, 2):  # what would take for ever is seen early
            few = text_of(attack, repeats * len(attack[1]))
            assert seconds(run, few, 1) < MOST_SECONDS / 10, (attack, repeats)
        suspects.append((seconds(run, text_of(attack, 3 * SMALL), 1), attack))
    for _, attack in sorted(suspects, reverse=True)[:4]:
        small, middle = (seconds(run, text_of(attack, n), 3) for n in (SMALL, MIDDLE))
        assert middle < MOST_SECONDS / 5, (attack, middle)
        large = seconds(run, text_of(attack, LARGE), 3)
        assert large < MOST_SECONDS, (attack, large)
        for less, more in ((small, middle), (middle, large)):
            assert more < max(less * MOST_GROWTH, TOO_SHORT), (attack, less, more)


def test_no_pattern_is_forgotten():
    assert in_functions() == set(FUNCTIONS)
    calls = sum(uses_re(node) for _, tree in files() for node in ast.walk(tree))
    assert len(PATTERNS) > 30
    assert calls - len(FUNCTIONS) <= len(PATTERNS)


def test_the_attack_finds_what_is_slow():
    for slow in (
        r"(?:a|a)*b",
        r"[A-Za-z0-9]+(?:\s*(?:[>,;]|\n)\s*[A-Za-z0-9]+)+[\s.>]*",  # blank lines between items
        r"\s*\d+",
        r"\{.*?\}x",
        r"(?:\w+\s?)*$",
    ):
        pattern = re.compile(slow, re.DOTALL)
        with pytest.raises(AssertionError):
            check(lambda t, p=pattern: (p.findall(t), p.fullmatch(t)), attacks(pattern))


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_take_linear_time(name):
    pattern = PATTERNS[name]
    check(lambda text: (pattern.findall(text), pattern.fullmatch(text)), attacks(pattern))


@pytest.mark.parametrize("name", [*FUNCTIONS, *READERS])
def test_functions_take_linear_time(name):
    run = (FUNCTIONS | READERS)[name]
    check(run, [(head, part, "\0x") for head in ("", "[1] > ", "<think>") for part in WORDS])
