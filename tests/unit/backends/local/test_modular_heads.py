"""Cross-encoders whose head is made of modules of its own, as the ettin rerankers' is."""

import pytest
import tiny_models

from rerank_plugins.backends import CrossEncoderBackend
from rerank_plugins.calls import ScorePair

PASSAGES = ["a cat", "far sea", "flea", "yes a flea no sea " * 3]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A ModernBERT, its first state, a dense layer, a norm, a dense layer: one logit."""
    return tiny_models.modular_reranker(tmp_path_factory.mktemp("ettin"))


def by_hand(folder, query, passage):
    """Encoder, state of the first token, GELU of a product, norm, product: in plain torch."""
    import torch
    import transformers
    from safetensors.torch import load_file

    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(query, passage, return_tensors="pt")
    names = ("2_Dense", "3_LayerNorm", "4_Dense")
    parts = [load_file(folder / name / "model.safetensors") for name in names]
    hidden, norm, last = parts
    with torch.inference_mode():
        first = model(**inputs).last_hidden_state[0, 0]
        state = torch.nn.functional.gelu(hidden["linear.weight"] @ first)
        scale, shift = norm["norm.weight"], norm["norm.bias"]
        state = torch.nn.functional.layer_norm(state, state.shape, scale, shift)
        return float(last["linear.weight"][0] @ state + last["linear.bias"][0])


def test_scores_are_those_of_a_plain_forward_pass(saved):
    backend = CrossEncoderBackend(saved)
    expected = [by_hand(saved, "flea", passage) for passage in PASSAGES]
    assert len({round(score, 3) for score in expected}) == len(PASSAGES)
    together = backend.run([ScorePair("flea", passage) for passage in PASSAGES])
    assert [reply.answer for reply in together] == pytest.approx(expected, abs=1e-4)
    for passage, score in zip(PASSAGES, expected, strict=True):
        [reply] = backend.run([ScorePair("flea", passage)])
        assert reply.answer == pytest.approx(score, abs=1e-4)


def test_long_pairs_are_cut_and_say_so(saved):
    [reply] = CrossEncoderBackend(saved, max_tokens=12).run([ScorePair("flea", "sea " * 40)])
    assert (reply.truncated, reply.prompt_tokens) == ((0,), 12)
