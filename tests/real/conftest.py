"""Real servers on the loopback."""

import pytest
import real_servers


@pytest.fixture(scope="session")
def llama_cpp(smollm2_gguf):
    """The address of a llama.cpp server with SmolLM2 that ends with the tests."""
    pytest.importorskip("xllamacpp", reason="no llama.cpp: pip install xllamacpp")
    with real_servers.llama_cpp(smollm2_gguf) as url:
        yield url
