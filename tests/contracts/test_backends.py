"""The shipped contract over every backend and double."""

import pytest

from rerank_plugins.backends import TransformersBackend
from rerank_plugins.middleware import cached, recorded, retried
from rerank_plugins.testing import BackendContract, Oracle


class TestOracle(BackendContract):
    @pytest.fixture
    def backend(self):
        return Oracle()


class TestLayers(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path):
        return cached(retried(recorded(Oracle(), tmp_path / "transcript.jsonl")))


class TestTransformersOneByOne(BackendContract):
    @pytest.fixture
    def backend(self, tiny):
        return tiny


class TestTransformersInBatches(BackendContract):
    @pytest.fixture
    def backend(self, tiny_model, tokenizer):
        return TransformersBackend(tiny_model, tokenizer=tokenizer, max_batch_tokens=500)


class TestSmolLM2(BackendContract):
    @pytest.fixture
    def backend(self, smollm2):
        return smollm2
