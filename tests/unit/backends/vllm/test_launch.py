"""Arguments of an engine, chosen and given. Starting one is tested with a real vLLM."""

import pytest
from fake_vllm import fake_vllm

from rerank_plugins import ModelLoadError
from rerank_plugins.backends._vllm.launch import CPU_BLOCK_TOKENS, _defaults, start_vllm


@pytest.mark.parametrize("cpu", [True, False])
def test_defaults_of_a_cpu_and_of_a_gpu(monkeypatch, cpu):
    fake_vllm(monkeypatch, cpu=cpu)
    monkeypatch.delenv("VLLM_LOGGING_LEVEL", raising=False)
    chosen = _defaults({"runner": "generate"})
    assert chosen["load_format"] == "safetensors"
    assert chosen["trust_remote_code"] is False
    assert chosen["enable_prefix_caching"] is True
    assert chosen["log_level"] == "ERROR"
    assert chosen.get("block_size") == (CPU_BLOCK_TOKENS if cpu else None)
    assert ("kv_cache_memory_bytes" in chosen) is cpu


def test_what_is_given_takes_the_place_of_a_default(monkeypatch):
    fake_vllm(monkeypatch)
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    chosen = _defaults({"runner": "pooling", "gpu_memory_utilization": 0.5})
    assert not chosen.keys() & {"log_level", "enable_prefix_caching", "kv_cache_memory_bytes"}


def test_a_model_that_cannot_be_read_is_a_load_error(monkeypatch, tmp_path):
    fake_vllm(monkeypatch)
    with pytest.raises(ModelLoadError, match="vLLM cannot load the model"):
        start_vllm(str(tmp_path), {}, adapter=None, revision=None, token=None)
