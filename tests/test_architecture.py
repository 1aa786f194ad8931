"""The public surface, the cost of importing it, and that the documents tell the truth."""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar, get_origin

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
        "torch transformers numpy ftfy haystack llama_index langchain_core asyncio pytest "
        "sentence_transformers"
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
    assert "rerank-plugins[faiss-gpu]" in found.stderr.splitlines()[-1]


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


# Where a user or a plugin may import from; every other module has an underscore.
DOORS = """
rerank_plugins
rerank_plugins.backends rerank_plugins.backends.chat
rerank_plugins.calls rerank_plugins.cli rerank_plugins.cli.__main__
rerank_plugins.components rerank_plugins.components.feedback
rerank_plugins.errors
rerank_plugins.evaluation rerank_plugins.evaluation.report
rerank_plugins.feedback rerank_plugins.feedback.measure
rerank_plugins.handlers rerank_plugins.jobs rerank_plugins.jobs.ray
rerank_plugins.middleware rerank_plugins.parsing rerank_plugins.plans rerank_plugins.presets
rerank_plugins.prompts rerank_plugins.ranking rerank_plugins.registry rerank_plugins.reranker
rerank_plugins.serving rerank_plugins.strategies
rerank_plugins.testing rerank_plugins.testing.contracts
rerank_plugins.text
rerank_plugins.training rerank_plugins.training.data rerank_plugins.training.losses
rerank_plugins.training.rewards
"""


def modules_of(folder):
    """Dotted names of the modules in a folder, with the files that hold them."""
    for file in sorted(folder.rglob("*.py")):
        *parents, last = file.relative_to(folder.parent).with_suffix("").parts
        yield ".".join(parents if last == "__init__" else [*parents, last]), file


def is_private(name):
    return any(part.startswith("_") and part != "__main__" for part in name.split("."))


def test_the_public_modules_are_pinned():
    found = [name for name, _ in modules_of(ROOT / "rerank_plugins") if not is_private(name)]
    assert sorted(found) == sorted(DOORS.split())
    assert len(found) <= 35


def by_kind(name):
    """Constants, then classes, then functions: the order in which the linter sorts."""
    return (not name.isupper(), not name[0].isupper(), name)


def own_names(file):
    """The public names that a face defines, or imports from its own package."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


FACES = {
    name: file
    for name, file in modules_of(ROOT / "rerank_plugins")
    if file.name == "__init__.py" and not is_private(name)
}


@pytest.mark.parametrize("name", FACES)
def test_a_face_lists_every_name_it_has(name):
    if name.startswith("rerank_plugins.training"):
        pytest.importorskip("torch")
    face = importlib.import_module(name)
    listed = face.__all__
    assert len(listed) == len(set(listed))
    assert listed == sorted(listed, key=by_kind)
    unlisted = set(own_names(FACES[name])) - set(listed)
    assert not {n for n in unlisted if not isinstance(getattr(face, n), TypeVar | ModuleType)}
    for one in listed:  # those that are loaded late, too
        assert getattr(face, one) is not None


def test_few_files_of_different_packages_share_a_name():
    """The adapters are parallel on purpose; inside the library a file's name says where you are."""
    stems = Counter(
        file.stem
        for _, file in modules_of(ROOT / "rerank_plugins")
        if not file.stem.startswith("__")
    )
    assert len([stem for stem, files in stems.items() if files > 1]) <= 6


def with_tests():
    """Files of the algorithms and of the backends."""
    for pattern in ("strategies/*.py", "backends/*/*.py"):
        for file in sorted((ROOT / "rerank_plugins").glob(pattern)):
            if file.name != "__init__.py":
                yield file.relative_to(ROOT / "rerank_plugins")


@pytest.mark.parametrize("file", list(with_tests()), ids=str)
def test_every_strategy_and_backend_has_tests_of_its_name(file):
    """``backends/local/_engine.py`` is tested in ``unit/backends/local/test_engine.py``."""
    folders = [part.lstrip("_") for part in file.parts[:-1]]
    name = f"test_{file.stem.lstrip('_')}.py"
    assert ROOT.joinpath("tests", "unit", *folders, name).exists()
