"""The import graph: no circle in the package, and adapters that import only faces."""

import ast
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
FACES = {
    "rerank_plugins",
    "rerank_plugins.backends",
    "rerank_plugins.backends.chat",
    "rerank_plugins.calls",
    "rerank_plugins.components",
    "rerank_plugins.components.feedback",
    "rerank_plugins.errors",
    "rerank_plugins.feedback",
    "rerank_plugins.presets",
    "rerank_plugins.prompts",
    "rerank_plugins.ranking",
    "rerank_plugins.strategies",
    "rerank_plugins.text",
}
ADAPTERS = sorted((ROOT / "integrations").rglob("*.py"))


def circular(arrows):
    """Modules in circles of imports, or between two circles.

    Args:
        arrows: For each module, those that it imports.
    """
    left = {module: set(imported) for module, imported in arrows.items()}
    while True:
        targets = set().union(*left.values())
        free = {m for m, imported in left.items() if not imported & left.keys() or m not in targets}
        if not free:
            return set(left)
        left = {m: imported - free for m, imported in left.items() if m not in free}


def test_circles_are_found():
    assert circular({"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": []}) == {"b", "c"}
    assert circular({"a": ["b", "c"], "b": ["c"], "c": []}) == set()
    assert circular({"a": ["a"]}) == {"a"}


def test_no_module_imports_one_that_imports_it():
    """Imports inside functions count; those for type checkers alone do not run."""
    graph = grimp.build_graph("rerank_plugins", exclude_type_checking_imports=True, cache_dir=None)
    arrows = {
        module: sorted(graph.find_modules_directly_imported_by(module)) for module in graph.modules
    }
    assert len(arrows) > 100
    assert circular(arrows) == set()


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_adapters_import_only_faces(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module)
    ours = {name for name in imported if name.partition(".")[0] == "rerank_plugins"}
    assert ours <= FACES
