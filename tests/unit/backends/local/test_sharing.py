"""The sequences that run together, and what they share."""

import warnings
from types import SimpleNamespace

import pytest
import tiny_models

from rerank_plugins.backends._local.forward import Forward
from rerank_plugins.backends._local.sharing import (
    LEAST_SHARED,
    Group,
    batches,
    group_alike,
    shareable_tokens,
)


def test_sequences_that_share_too_little_are_one_group():
    sequences = [[1] * (LEAST_SHARED - 1) + [i] for i in (2, 3)]
    assert group_alike(sequences, [LEAST_SHARED] * 2) == [Group((0, 1))]


def test_sequences_share_their_common_beginning():
    sequences = [[1] * LEAST_SHARED + [i, i] for i in (2, 3, 4)]
    assert group_alike(sequences, [LEAST_SHARED + 1] * 3) == [Group((0, 1, 2), LEAST_SHARED)]


def test_no_more_is_shared_than_a_sequence_allows():
    long = [1] * 100
    assert group_alike([long, [*long, 2], [*long, 3]], [90, 100, 100]) == [Group((0, 1, 2), 90)]
    assert group_alike([long, [*long, 2], [*long, 3]], [0, 100, 100]) == [
        Group((1, 2), 100),
        Group((0,)),
    ]


def test_parts_that_share_more_are_cut_from_those_that_share_less():
    rules, one, other = [1] * 40, [2] * 60, [3] * 60
    sequences = [[*rules, *one, i] for i in range(3)] + [[*rules, *other, i] for i in range(3)]
    assert group_alike(sequences, [100] * 6) == [Group((0, 1, 2), 100), Group((3, 4, 5), 100)]


def test_nothing_has_no_groups():
    assert group_alike([], []) == []


def test_batches_hold_at_most_so_many_sequences():
    assert list(batches([1, 1, 1], budget=100, most=2)) == [[0, 1], [2]]


def test_without_a_budget_every_sequence_runs_alone():
    assert list(batches([1, 3, 2], budget=None)) == [[1], [2], [0]]


@pytest.fixture(scope="module")
def forward():
    return Forward(tiny_models.llama(100, max_position_embeddings=512), pad_id=0)


def test_a_llama_may_share_up_to_its_context(forward):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shareable_tokens(forward, 512) == 512
        assert shareable_tokens(forward, 10) == 0  # too short to gain anything


def test_a_window_is_the_limit():
    import transformers

    config = transformers.MistralConfig(
        vocab_size=100,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=60,
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    assert shareable_tokens(Forward(model, 0), 512) == 60


def test_a_model_whose_shared_logits_differ_shares_nothing_with_a_warning(forward, monkeypatch):
    plain = forward.logits

    def logits(rows, keep, prefix=None):
        return plain(rows, keep, prefix) * (1 if prefix is None else 1.5)

    monkeypatch.setattr(forward, "logits", logits)
    with pytest.warns(UserWarning, match="logits would differ by"):
        assert shareable_tokens(forward, 512) == 0


def test_a_cache_that_fails_shares_nothing_with_a_warning(forward, monkeypatch):
    def prefix(_ids):
        raise ValueError("no keys")

    monkeypatch.setattr(forward, "prefix", prefix)
    with pytest.warns(UserWarning, match=r"cannot be used \(ValueError: no keys\)"):
        assert shareable_tokens(forward, 512) == 0


@pytest.mark.parametrize(
    ("rope", "limit"),
    [
        ({"rope_type": "default"}, 512),
        ({"rope_type": "dynamic", "original_max_position_embeddings": 100}, 100),
        ({"rope_type": "dynamic"}, 300),
        ({"local": {"rope_type": "longrope", "original_max_position_embeddings": 90}}, 90),
    ],
)
def test_rotary_embeddings_that_stretch_are_exact_up_to_their_original_length(
    forward, monkeypatch, rope, limit
):
    text = SimpleNamespace(rope_parameters=rope, max_position_embeddings=300, vocab_size=100)
    monkeypatch.setattr(type(forward.model.config), "get_text_config", lambda *_args, **_kw: text)
    monkeypatch.setattr(
        "rerank_plugins.backends._local.sharing.extra",
        lambda *_: SimpleNamespace(DynamicCache=lambda config: SimpleNamespace(layers=[])),
    )
    from rerank_plugins.backends._local.sharing import _same_up_to

    assert min(_same_up_to(forward.model), 512) == limit
