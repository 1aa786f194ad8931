"""The package of small rerankers, here and absent."""

import sys

import pytest

from rerank_plugins import MissingExtraError, _shipped
from rerank_plugins._shipped import package_folder, weights_of


def test_a_folder_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "rerank_plugins_models").mkdir()
    (tmp_path / "rerank_plugins_models" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "rerank_plugins_models", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    found = package_folder("minilm", "a/name")
    assert found == tmp_path / "rerank_plugins_models" / "minilm"


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(_shipped, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"'a/name' is in .*rerank-plugins\[models\]"):
        package_folder("minilm", "a/name")


def test_names_of_the_package_lead_to_its_folders(tmp_path, monkeypatch):
    (tmp_path / "rerank_plugins_models").mkdir()
    (tmp_path / "rerank_plugins_models" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "rerank_plugins_models", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    expected = tmp_path / "rerank_plugins_models" / "minilm"
    assert weights_of("rerank-plugins/minilm") == str(expected)
    for other in ("castorini/first_mistral", str(tmp_path), "model.gguf"):
        assert weights_of(other) == other


def test_a_folder_of_that_name_is_the_user_s_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rerank-plugins" / "mine").mkdir(parents=True)
    assert weights_of("rerank-plugins/mine") == "rerank-plugins/mine"
