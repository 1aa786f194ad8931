"""The backend and the reranker of a component, from its arguments."""

from importlib.util import find_spec

import pytest

from rerank_plugins import BackendError, ConfigurationError, InputError, UnknownNameError
from rerank_plugins.backends import CrossEncoderBackend, TransformersBackend
from rerank_plugins.components import (
    DEFAULT_PRESET,
    build_backend,
    build_reranker,
    chat_options,
    find_checkpoint,
    find_parts,
    model_name,
    plain_part,
    refuse_download,
)
from rerank_plugins.middleware import cached, guarded
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle


def built(backend=None, model=None, options=None, *, device=None, token=None, **names):
    """The backend of a component with these arguments."""
    key = names.get("api_key")
    named = find_parts(backend, model, **names)
    return build_backend(named.backend, options, device=device, token=token, api_key=key)


def test_a_backend_object_is_the_backend():
    backend = Oracle()
    assert built(backend) is backend
    for wrong in ({"device": "cpu"}, {"api_key": "secret"}, {"options": {"dtype": "float32"}}):
        with pytest.raises(InputError, match="already built"):
            built(backend, **wrong)


def test_a_model_is_a_local_model_and_a_known_checkpoint_has_its_own_backend():
    unknown = built(None, "a/b", {"dtype": "bfloat16"}, device="cpu")
    assert isinstance(unknown, TransformersBackend)
    assert (unknown.model, unknown.dtype, unknown.device) == ("a/b", "bfloat16", "cpu")
    for name in ("BAAI/bge-reranker-base", "bge-reranker-base", "BGE-Reranker-Base"):
        known = built(None, name)
        assert isinstance(known, CrossEncoderBackend)
        assert known.model == "BAAI/bge-reranker-base"
    copy = built(None, "my/copy", preset="BAAI/bge-reranker-base")
    assert isinstance(copy, CrossEncoderBackend)
    assert copy.model == "my/copy"
    assert built(preset="BAAI/bge-reranker-base").model == "BAAI/bge-reranker-base"


def test_a_backend_that_names_a_model_alone_is_completed():
    spec = {"model": "bge-reranker-base", "device": "cpu"}
    named = find_parts(spec, None)
    assert named.with_strategy() == {"name": "pair-score"}
    backend = build_backend(named.backend)
    assert (type(backend), backend.device) == (CrossEncoderBackend, "cpu")
    assert spec == {"model": "bge-reranker-base", "device": "cpu"}


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        ("transformers", {"model": "a/b"}),
        ("transformers", {"base": "a/b"}),
        ("transformers", {"base_url": "http://localhost"}),
    ],
)
def test_one_of_model_and_backend(backend, names):
    with pytest.raises(InputError, match="either model= or backend="):
        find_parts(backend, names.pop("model", None), **names)


def test_without_any_name_it_is_the_default():
    if find_spec("rerank_plugins_models") is None:
        pytest.skip("no models: pip install ./models")
    assert find_parts(None, None).model == DEFAULT_PRESET
    assert find_parts(None, None, strategy="pair-score").with_strategy() == "pair-score"


def test_a_strategy_that_asks_for_more_than_scores_of_pairs_needs_a_model():
    with pytest.raises(InputError, match=r"only scores pairs\. Give model= or backend= too"):
        find_parts(None, None, strategy="permutation")


def test_a_model_on_a_server_and_its_key():
    backend = built(None, "first_mistral", base_url="http://localhost:8000", api_key="hidden-key")
    assert backend.base_url == "http://localhost:8000/v1"
    assert (backend.model, backend.api_key) == ("first_mistral", "hidden-key")
    assert "hidden-key" not in repr(backend)
    with pytest.raises(InputError, match=r"api_key= is for a server\. Give base_url"):
        built(None, "first_mistral", api_key="hidden-key")


def test_a_spec_is_for_the_generic_component(tmp_path):
    for spec in ({"model": "first_mistral"}, "spec.yaml", tmp_path / "spec.json"):
        with pytest.raises(InputError, match="generic component"):
            find_checkpoint(None, spec)
    assert find_checkpoint(None, "first_mistral").model == "castorini/first_mistral"


def test_a_large_model_is_not_chosen_for_the_user():
    with pytest.raises(InputError) as error:
        refuse_download("FirstRanker", "castorini/first_mistral", "llm", [None, None])
    assert str(error.value) == (
        "FirstRanker without a model would download castorini/first_mistral (7.2 billion weights, "
        "14.5 GB in 16 bits). To do so, give model='castorini/first_mistral'; or give base_url=, "
        "backend= or llm=."
    )
    refuse_download("FirstRanker", "castorini/first_mistral", "llm", [None, "a/b"])


def test_the_token_is_asked_for_when_the_model_is_loaded():
    asked = []
    backend = built(None, "a/b", token=lambda: asked.append(1) or "secret")
    assert asked == []
    assert backend._hub_token() == "secret"


def test_secrets_are_not_taken_from_options():
    with pytest.raises(InputError, match="plain text"):
        built(None, "a/b", {"token": "secret"})
    with pytest.raises(UnknownNameError, match="transformers"):
        built("transformer")


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
