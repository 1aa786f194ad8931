"""The backend and the reranker of a component, from its arguments."""

import pytest

from rerank_plugins import BackendError, ConfigurationError, InputError, UnknownNameError
from rerank_plugins.backends import CrossEncoderBackend, TransformersBackend
from rerank_plugins.components import (
    build_backend,
    build_reranker,
    chat_options,
    model_name,
    plain_part,
)
from rerank_plugins.middleware import cached, guarded
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle


def test_a_backend_object_is_the_backend():
    backend = Oracle()
    assert build_backend(backend, None) is backend
    with pytest.raises(InputError, match="already built"):
        build_backend(backend, None, device="cpu")


def test_a_model_is_a_local_model_and_a_known_checkpoint_has_its_own_backend():
    unknown = build_backend(None, "a/b", {"dtype": "bfloat16"}, device="cpu")
    assert isinstance(unknown, TransformersBackend)
    assert (unknown.model, unknown.dtype, unknown.device) == ("a/b", "bfloat16", "cpu")
    assert isinstance(build_backend(None, "BAAI/bge-reranker-base"), CrossEncoderBackend)
    copy = build_backend(None, "my/copy", preset="BAAI/bge-reranker-base")
    assert isinstance(copy, CrossEncoderBackend)
    assert copy.model == "my/copy"
    alone = build_backend(None, None, preset="BAAI/bge-reranker-base")
    assert alone.model == "BAAI/bge-reranker-base"


@pytest.mark.parametrize(("backend", "model"), [(None, None), ("transformers", "a/b")])
def test_one_of_model_and_backend(backend, model):
    with pytest.raises(InputError, match="either model= or backend="):
        build_backend(backend, model)


def test_the_token_is_asked_for_when_the_model_is_loaded():
    asked = []
    backend = build_backend(None, "a/b", token=lambda: asked.append(1) or "secret")
    assert asked == []
    assert backend._hub_token() == "secret"


def test_secrets_are_not_taken_from_options():
    with pytest.raises(InputError, match="plain text"):
        build_backend(None, "a/b", {"token": "secret"})
    with pytest.raises(UnknownNameError, match="transformers"):
        build_backend("no-such", None)


def test_options_of_a_chat_model():
    assert chat_options("llm", None, {"model": None}) == {}
    assert chat_options("llm", {"max_concurrency": 2}, {}) == {"max_concurrency": 2}
    with pytest.raises(InputError, match="either device= or llm=, and not both"):
        chat_options("llm", None, {"model": None, "device": "cpu"})
    with pytest.raises(InputError, match="the backend of llm= has no dtype"):
        chat_options("llm", {"dtype": "float32"}, {})


def test_a_backend_that_raises_is_a_failed_call():
    class Broken:
        def run(self, calls):
            raise RuntimeError("out of memory")

    kept = build_reranker(PairScore(), Broken(), raise_on_failure=False, limits={"max_calls": 9})
    assert kept.limits.max_calls == 9
    ranking = kept.rank("q", ["a", "b"])
    assert ranking.order == (0, 1)
    assert "out of memory" in ranking.report.fallbacks[0]
    raising = build_reranker(PairScore(), Broken(), raise_on_failure=True, limits=None)
    with pytest.raises(BackendError, match="out of memory"):
        raising.rank("q", ["a", "b"])


def test_plain_forms_of_parts():
    assert plain_part("backends", None) is None
    assert plain_part("backends", "oracle") == "oracle"
    assert plain_part("strategies", {"name": "pair-score"}) == {"name": "pair-score"}
    assert plain_part("strategies", PairScore())["name"] == "pair-score"
    with pytest.raises(ConfigurationError):
        plain_part("backends", Oracle())


def test_the_name_of_a_model():
    assert model_name(cached(guarded(TransformersBackend("a/b")))) == "a/b"
    assert model_name(Oracle()) == "Oracle"
