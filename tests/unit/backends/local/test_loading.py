"""Loading models: progress bars, dtypes and messages."""

import threading
from importlib import import_module

import pytest

from rerank_plugins import ConfigurationError, ModelLoadError
from rerank_plugins._threads import in_thread
from rerank_plugins.backends._local.loading import (
    chosen_device,
    chosen_dtype,
    first_line,
    incomplete_checkpoint,
    quiet,
    unpacked_gguf,
)


def bars():
    """Whether transformers shows its bars, and the bar of its GGUF reader."""
    import transformers

    reader = import_module("transformers.modeling_gguf_pytorch_utils")
    return transformers.utils.logging.is_progress_bar_enabled(), reader.tqdm


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_hidden_and_restored(shown):
    import transformers

    logging = transformers.utils.logging
    before = logging.is_progress_bar_enabled()
    (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
    try:
        found = bars()
        with quiet(transformers):
            with quiet(transformers):
                pass
            assert bars()[0] is False
            assert list(bars()[1]([1], desc="hidden")) == [1]
        assert bars() == found == (shown, found[1])
        with pytest.raises(ZeroDivisionError), quiet(transformers):
            raise ZeroDivisionError
        assert bars() == found == (shown, found[1])
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()


def test_threads_that_load_at_the_same_time_restore_the_callers_settings():
    """The first to begin is the first to end: the other's bars stay hidden."""
    import transformers

    before = bars()
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first():
        with quiet(transformers):
            first_in.set()
            assert second_in.wait(60)

    def second():
        assert first_in.wait(60)
        with quiet(transformers):
            second_in.set()
            assert first_out.wait(60)
            return bars()

    one, other = in_thread(first), in_thread(second)
    one.future.result(60)
    first_out.set()
    enabled, bar = other.future.result(60)
    assert not enabled
    assert bar is not before[1]
    assert bars() == before


def test_a_dtype_is_found_by_name():
    import torch

    assert chosen_dtype("auto", "cpu") is torch.float32
    assert chosen_dtype("auto", "cuda") == "auto"
    assert chosen_dtype("bfloat16", "cpu") is torch.bfloat16
    for name in ("float12", "nn"):
        with pytest.raises(ConfigurationError, match="no dtype"):
            chosen_dtype(name, "cpu")


def test_a_device_is_checked():
    assert chosen_device("cpu") == "cpu"
    with pytest.raises(ConfigurationError, match="no device 'toaster'"):
        chosen_device("toaster")


def test_an_incomplete_checkpoint_names_a_tensor():
    error = incomplete_checkpoint("some/model", ["a.weight", "b.weight"])
    assert isinstance(error, ModelLoadError)
    assert "'some/model' lack 2 tensors, a.weight among them" in str(error)


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n  \nno such file\nmore")) == "no such file"
    assert first_line(ValueError()) == "ValueError"


def test_a_gguf_file_must_exist(tmp_path):
    with pytest.raises(ModelLoadError, match="there is no file"):
        unpacked_gguf(tmp_path / "absent.gguf")
