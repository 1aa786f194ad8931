"""The package of small rerankers, here and absent."""

import sys

import pytest

from rerank_plugins import MissingExtraError
from rerank_plugins.presets import _package, package_folder


def test_a_folder_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "rerank_plugins_models").mkdir()
    (tmp_path / "rerank_plugins_models" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "rerank_plugins_models", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    found = package_folder("minilm", "a/name")
    assert found == tmp_path / "rerank_plugins_models" / "minilm"


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(_package, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"'a/name' is in .*rerank-plugins\[models\]"):
        package_folder("minilm", "a/name")
