"""Choose the tests of a run by the packages that are there, and start the slow files first."""

import importlib.util
import shutil
import subprocess
import sys
import traceback
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from rerank_plugins import MissingExtraError

ROOT = Path(__file__).parents[2]
# Packages that most of the library does without, and the code that is made for them.
HEAVY = (
    *("torch", "transformers", "sentence_transformers", "peft", "trl", "gguf", "xllamacpp"),
    *("haystack", "haystack_integrations", "llama_index", "langchain_core", "ray", "pyarrow"),
    *("vllm", "playwright"),
)
# Of light packages that some tests need and no user must have.
OPTIONAL = (*HEAVY, "tokenizers", "huggingface_hub", "opentelemetry", "grimp")
FOR_HEAVY = (
    *("tests", "integrations", "rerank_plugins/training"),
    *("rerank_plugins/backends/_local", "rerank_plugins/backends/_vllm"),
)
# Real models, clusters of processes, and attacks that take half a minute each.
SLOW = (
    *("tests/real", "tests/engines", "tests/batch", "tests/unit/test_patterns.py"),
    "tests/unit/backends/answers/test_failures.py",
    "tests/unit/backends/prompts/test_documents.py",
)
# Two workers end together when the long files come first; the longest are above.
LONG = (
    *("tests/test_examples.py", "tests/real", "tests/batch", "tests/test_documents.py"),
    *("tests/training", "tests/frameworks", "tests/evaluation", "tests/test_wheel.py"),
    *("tests/test_plugin.py", "tests/serving", "tests/contracts"),
)


class _Hiding(PathFinder):
    """Finds every module but those of heavy packages."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] in HEAVY:
            return None
        return super().find_spec(fullname, path, target)


def hide_heavy_packages():
    """Make heavy packages look as if they were not installed."""
    sys.meta_path[:] = [_Hiding if finder is PathFinder else finder for finder in sys.meta_path]


class Collecting:
    """Skips tests of heavy packages that are not installed, and sorts files by how long they take.

    Only an import by a test, or by code that is made for the package, skips a test: where the rest
    of the library imports a heavy package, that is a failure.

    Args:
        fast: Leave out real models, tests that are marked as slow, and those that start a process.
    """

    def __init__(self, *, fast):
        self.fast = fast

    def pytest_ignore_collect(self, collection_path):
        slow = any(collection_path.is_relative_to(ROOT / folder) for folder in SLOW)
        return True if self.fast and slow else None

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: _place(item.path))
        if shutil.which("nvidia-smi") is None:
            for item in items:
                if item.get_closest_marker("gpu"):
                    item.add_marker(pytest.mark.skip(reason="no GPU: there is no nvidia-smi"))
        if self.fast:
            for item in items:
                if item.get_closest_marker("slow"):
                    item.add_marker(pytest.mark.skip(reason="slow"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self):
        with pytest.MonkeyPatch.context() as patch:
            if self.fast:
                patch.setattr(subprocess.Popen, "__init__", _skip_process)
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        report = yield
        missing = report.failed and _missing(report.call.excinfo.value)
        if missing:
            _skip(report, collector.path, missing)
            for name, module in list(sys.modules.items()):
                if getattr(module, "__file__", None) == str(collector.path):
                    del sys.modules[name]  # half-made: the next import has to fail, too
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        missing = report.failed and _missing(call.excinfo.value)
        if missing:
            _skip(report, item.path, missing)
        return report


def _place(path):
    return next((i for i, p in enumerate(LONG) if path.is_relative_to(ROOT / p)), len(LONG))


def _skip_process(*_, **__):
    pytest.skip("it starts a process")


def _skip(report, path, package):
    report.outcome = "skipped"
    report.longrepr = (str(path), 1, f"Skipped: {package} is not installed")


def _missing(error):
    """The heavy package whose absence is the error, if code that is made for it imported it."""
    while error and not isinstance(error, (ImportError, MissingExtraError)):
        error = error.__cause__  # pytest's own error about a file has one
    cause = error.__cause__ if isinstance(error, MissingExtraError) else error
    package = (getattr(cause, "name", None) or "").partition(".")[0]
    if package not in OPTIONAL or importlib.util.find_spec(package):
        return None
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    ours = [f for f in files if f.is_relative_to(ROOT) and f.name != "_extras.py"]
    by = ours[-1] if ours else Path("/")
    return package if any(by.is_relative_to(ROOT / folder) for folder in FOR_HEAVY) else None
