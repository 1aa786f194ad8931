"""`VLLMBackend` without an engine: its arguments, and the life of the one it would start."""

import copy
import pickle

import pytest
import tiny_models
from fake_vllm import LLM, fake_vllm

from rerank_plugins import BackendError, InputError, ModelLoadError
from rerank_plugins.backends import VLLMBackend
from rerank_plugins.backends._vllm import backend as module
from rerank_plugins.calls import Generate, Message, NextToken, Prompt, ScorePair
from rerank_plugins.registry import from_spec, to_spec

CALL = Generate(Prompt((Message("user", ("hello",)),), chat=False), 3)


@pytest.fixture
def started(monkeypatch):
    """The engines that were started, with their arguments."""
    fake_vllm(monkeypatch)
    found = []

    def start(model, arguments, **options):
        llm = LLM(model, **arguments)
        llm.options = options
        found.append(llm)
        return llm, tiny_models.characters(), None

    monkeypatch.setattr(module, "start_vllm", start)
    return found


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"runner": "draft"}, "runner is 'draft'"),
        ({"context_tokens": 0}, "context_tokens is 0"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size is 0"),
        ({"gpu_memory_utilization": 0}, "gpu_memory_utilization is 0"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization is 1.5"),
        ({"query_template": "query"}, "{query}"),
        ({"engine_options": {"max_model_len": 5}}, "max_model_len"),
        ({"engine_options": {"dtype": "half"}}, "dtype"),
        ({"engine_options": {"load_format": "pt"}}, "pickles"),
    ],
)
def test_bad_arguments(options, says):
    with pytest.raises(InputError, match=says):
        VLLMBackend("model", **options)


def test_a_model_is_a_text_or_a_path(tmp_path):
    assert VLLMBackend(tmp_path).model == str(tmp_path)
    with pytest.raises(InputError, match="model is of type int"):
        VLLMBackend(7)


def test_it_says_what_it_is_and_is_built_again_from_its_spec():
    backend = VLLMBackend("m", runner="pooling")
    assert repr(backend) == "VLLMBackend('m', runner='pooling', dtype='auto')"
    assert repr(from_spec("backends", to_spec("backends", backend))) == repr(backend)
    assert backend.kinds == {ScorePair}
    assert NextToken in VLLMBackend("m").kinds


def test_the_arguments_reach_the_engine(started):
    VLLMBackend(
        "m",
        dtype="bfloat16",
        context_tokens=64,
        enforce_eager=True,
        adapter="a",
        token=lambda: "t",
        engine_options={"max_num_seqs": 4},
    ).warm_up()
    assert started[0].arguments == {
        "runner": "generate",
        "tensor_parallel_size": 1,
        "enforce_eager": True,
        "max_model_len": 64,
        "dtype": "bfloat16",
        "max_num_seqs": 4,
    }
    assert started[0].options == {"adapter": "a", "revision": None, "token": "t"}


def test_a_dead_engine_is_ended_and_the_next_call_starts_another(started):
    backend = VLLMBackend("m")
    backend.warm_up()
    started[0].dies = True
    [reply] = backend.run([CALL])
    assert isinstance(reply, BackendError)
    assert reply.retryable
    assert started[0].ended == 1
    backend.warm_up()
    assert len(started) == 2
    backend.close()
    backend.close()
    assert started[1].ended == 1


def test_a_model_that_does_not_score_pairs_is_ended(started):
    with pytest.raises(ModelLoadError, match="does not score pairs"):
        VLLMBackend("m", runner="pooling").warm_up()
    assert started[0].ended == 1


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_starts_its_own_engine(started, twin):
    backend = VLLMBackend("m", context_tokens=64)
    backend.warm_up()
    again = twin(backend)
    assert again.context_tokens == 64
    assert len(started) == 1
    again.warm_up()
    assert len(started) == 2
