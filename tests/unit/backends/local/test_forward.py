"""Forward passes over sequences that may begin alike."""

import pytest
import tiny_models

from rerank_plugins import BackendError
from rerank_plugins.backends._local.forward import Forward, within_memory
from rerank_plugins.calls import Reply


@pytest.fixture(scope="module")
def forward():
    model = tiny_models.llama(50, max_position_embeddings=128, initializer_range=0.6)
    return Forward(model, pad_id=7)


def test_logits_are_the_models(forward):
    import torch

    rows = [[1, 2, 3, 4], [5, 6, 8, 9]]
    with torch.inference_mode():
        found = forward.logits(rows, keep=2)
        expected = forward.model(torch.tensor(rows)).logits[:, -2:]
    assert found.shape == (2, 2, 50)
    assert torch.equal(found, expected)


def test_padding_and_a_shared_beginning_change_no_logits(forward):
    import torch

    beginning = [1, 2, 3]
    rows = [[*beginning, 4, 5, 6], [*beginning, 7]]
    with torch.inference_mode():
        alone = torch.cat([forward.logits([row], keep=1) for row in rows])
        together = forward.logits(rows, keep=1)
        shared = forward.logits(rows, keep=1, prefix=forward.prefix(beginning))
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.allclose(shared, alone, atol=1e-4)


def test_a_prefix_serves_several_passes(forward):
    import torch

    with torch.inference_mode():
        prefix = forward.prefix([1, 2, 3])
        first = forward.logits([[1, 2, 3, 4]], keep=1, prefix=prefix)
        forward.logits([[1, 2, 3, 9, 9], [1, 2, 3, 8, 8]], keep=1, prefix=prefix)
        again = forward.logits([[1, 2, 3, 4]], keep=1, prefix=prefix)
    assert prefix.length == 3
    assert torch.equal(first, again)


def test_sequences_are_padded_on_the_left(forward):
    inputs = forward.inputs([[1, 2, 3], [4]])
    assert inputs["input_ids"].tolist() == [[1, 2, 3], [7, 7, 4]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]
    assert set(forward.inputs([[1, 2], [3, 4]])) == {"input_ids"}
    assert "position_ids" not in forward.inputs([[1, 2], [3]], positions=False)


def test_a_full_device_is_an_error_for_each_call_of_the_batch():
    import torch

    replies = {0: Reply(1.0), 1: Reply(2.0)}
    with within_memory(replies, [1, 2], "Lower it."):
        raise torch.OutOfMemoryError
    assert replies[0] == Reply(1.0)
    for i in (1, 2):
        assert isinstance(replies[i], BackendError)
        assert str(replies[i]) == "the device ran out of memory. Lower it."
    assert replies[1] is not replies[2]


def test_other_errors_are_raised_and_gradients_are_off():
    import torch

    replies = {}
    with within_memory(replies, [0], ""):
        assert torch.is_inference_mode_enabled()
    with pytest.raises(ZeroDivisionError), within_memory(replies, [0], ""):
        raise ZeroDivisionError
    assert replies == {}
    assert not torch.is_inference_mode_enabled()
