"""A tiny encoder, exported; tests of something else have a folder of their own."""

import pytest
import tiny_exports

from rerank_plugins.backends._onnx.encoder import load_encoder


@pytest.fixture
def folder(tmp_path):
    tiny_exports.bert(tmp_path, "BertModel")
    return tmp_path


@pytest.fixture
def encoder(folder):
    return load_encoder(str(folder))
