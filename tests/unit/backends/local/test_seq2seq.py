"""Arguments of the encoder-decoder backend. Its answers are tested by the contract."""

import pytest

from rerank_plugins import InputError
from rerank_plugins.backends import Seq2SeqBackend


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="context_tokens is 0"):
        Seq2SeqBackend("model", context_tokens=0)
    for model, tokenizer in (("model", object()), (object(), None), (None, None)):
        with pytest.raises(InputError, match="a loaded model and its tokenizer"):
            Seq2SeqBackend(model, tokenizer=tokenizer)
