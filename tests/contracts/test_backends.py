"""The shipped contract over every backend and double."""

import numpy as np
import pytest

from rerank_plugins.backends import Balanced, EmbeddingBackend, Routed, TransformersBackend
from rerank_plugins.calls import Attend, Embed, Generate, Likelihood, NextToken, ScorePair
from rerank_plugins.feedback import FaissIndex
from rerank_plugins.middleware import cached, recorded, retried
from rerank_plugins.testing import BackendContract, Oracle

MODEL = frozenset({NextToken, Generate, Likelihood, ScorePair, Embed, Attend})
"""What a model answers. An oracle that searches finds the same for every vector."""


class TestOracle(BackendContract):
    kinds = MODEL
    logits = True

    @pytest.fixture
    def backend(self):
        return Oracle()


class TestLayers(BackendContract):
    kinds = MODEL

    @pytest.fixture
    def backend(self, tmp_path):
        return cached(retried(recorded(Oracle(), tmp_path / "transcript.jsonl")))


class TestBalanced(BackendContract):
    kinds = MODEL

    @pytest.fixture(params=[1, 2, 3])
    def backend(self, request):
        return Balanced(backends=[Oracle(seed=1) for _ in range(request.param)])


class TestTransformersOneByOne(BackendContract):
    logits = True

    @pytest.fixture
    def backend(self, tiny):
        return tiny


class TestTransformersInBatches(BackendContract):
    logits = True

    @pytest.fixture
    def backend(self, tiny_model, tokenizer):
        return TransformersBackend(tiny_model, tokenizer=tokenizer, max_batch_tokens=500)


class TestEmbeddingOneByOne(BackendContract):
    @pytest.fixture
    def backend(self, tiny_model, tokenizer):
        return EmbeddingBackend(tiny_model.model, tokenizer=tokenizer)


class TestEmbeddingInBatches(BackendContract):
    @pytest.fixture
    def backend(self, tiny_model, tokenizer):
        return EmbeddingBackend(tiny_model.model, tokenizer=tokenizer, max_batch_tokens=500)


class TestSmolLM2(BackendContract):
    @pytest.fixture
    def backend(self, smollm2):
        return smollm2


class TestFaissIndex(BackendContract):
    @pytest.fixture(params=["Flat", "HNSW8"])
    def backend(self, request):
        vectors = np.vstack([np.eye(8), np.random.default_rng(0).normal(size=(40, 8))])
        ids = [f"d{i}" for i in range(48)]
        return FaissIndex.build(vectors, ids=ids, texts=ids, factory=request.param)


class TestIndexBesideAModel(BackendContract):
    @pytest.fixture
    def backend(self):
        ids = [f"d{i}" for i in range(8)]
        index = FaissIndex.build(np.eye(8), ids=ids, texts=ids)
        return Routed(pairs=Oracle(), text=Oracle(), search=index)
