"""One checkpoint through every engine: the same FIRST order on real windows.

`make vllm` runs it and prints the comparisons; ``RERANK_PLUGINS_DATA`` has the passages.
"""

import pytest
import real_servers
from same_order import QUERIES, compared, ranked, windows

from rerank_plugins import Reranker
from rerank_plugins.backends import OpenAIBackend, VLLMBackend
from rerank_plugins.strategies import QueryLikelihood, SingleToken

pytest.importorskip("vllm", reason="no vLLM here: run `make vllm`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # vLLM's own
]


@pytest.fixture(scope="module")
def asked(data):
    return windows(data)


@pytest.fixture(scope="module")
def expected(asked, smollm2):
    return ranked(smollm2, asked)


def check(name, backend, asked, expected, *, apart):
    found = compared(ranked(backend, asked), expected)
    print(f"\n{name}: {found}")
    assert found.furthest < apart
    return found


def test_vllm_in_this_process(asked, expected, smollm2_folder):
    backend = VLLMBackend(smollm2_folder)
    try:
        found = check("VLLMBackend", backend, asked, expected, apart=1e-3)
        assert found.equal == QUERIES
    finally:
        backend.close()


def test_vllm_serve(asked, expected, smollm2, smollm2_folder, tokenizer):
    with real_servers.vllm(smollm2_folder) as url:
        backend = OpenAIBackend(real_servers.NAME, base_url=url, tokenizer=tokenizer)
        found = check("OpenAIBackend, vllm serve", backend, asked, expected, apart=1e-3)
        assert found.equal == QUERIES
        query, texts = asked[0]
        likely = Reranker(QueryLikelihood(), backend).rank(query, texts)
        here = Reranker(QueryLikelihood(), smollm2).rank(query, texts)
        assert likely.order == here.order
        assert likely.scores == pytest.approx(here.scores, abs=1e-3)
        # More identifiers than one request to vLLM may ask for.
        strategy = SingleToken(prompt="full-list-tokens.v1")
        many = [f"Note {i}: {'flea ' * (i % 5)}" for i in range(150)]
        there, here = (Reranker(strategy, x).rank(query, many) for x in (backend, smollm2))
        assert there.report.unseen_labels == 0
        assert by_place(there) == pytest.approx(by_place(here), abs=1e-3)
        backend.close()


def by_place(ranking):
    return dict(zip(ranking.order, ranking.scores, strict=True))


def test_llama_cpp_in_32_bits(asked, expected, smollm2_gguf, tokenizer, tmp_path):
    """The same numbers in the same arithmetic."""
    pytest.importorskip("xllamacpp", reason="no llama.cpp: pip install xllamacpp")
    file = tmp_path / "smollm2-f32.gguf"
    real_servers.write_float32_gguf(smollm2_gguf, file)
    with real_servers.llama_cpp(file, float32=True, threads=2) as url:
        backend = OpenAIBackend(real_servers.NAME, base_url=url, tokenizer=tokenizer)
        found = check("OpenAIBackend, llama.cpp, F32", backend, asked, expected, apart=1e-3)
        assert found.equal == QUERIES
        backend.close()


def test_llama_cpp_in_4_bits(asked, expected, smollm2_gguf, tokenizer):
    """The same weights, which meet activations that are rounded to eight bits."""
    pytest.importorskip("xllamacpp", reason="no llama.cpp: pip install xllamacpp")
    with real_servers.llama_cpp(smollm2_gguf, threads=2) as url:
        backend = OpenAIBackend(
            real_servers.NAME,
            base_url=url,
            tokenizer=tokenizer,
            extra_body={"cache_prompt": False},
        )
        found = check("OpenAIBackend, llama.cpp, Q4_1", backend, asked, expected, apart=0.5)
        assert found.tau > 0.8
        backend.close()
