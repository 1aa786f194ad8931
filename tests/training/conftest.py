"""Tiny models that learn a list by heart within seconds."""

import pytest
import tiny_models

WORDS = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "very", "good", "cat", "flea", "life", "of", "sea"],
    *["dog", "lives", "months", "wolf", "hunts", "sleeps", "two", "the", "how", "long", "?", "."],
]


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """A BERT of a few thousand weights without a head, with a vocabulary of its own."""
    folder = tmp_path_factory.mktemp("encoder")
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    tiny_models.bert(WORDS, folder, "BertModel", hidden_size=32, intermediate_size=64, **still)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory, tokenizer):
    """A Llama of two small layers with random weights and SmolLM2's tokenizer and template."""
    folder = tmp_path_factory.mktemp("llama")
    size = {"hidden_size": 64, "intermediate_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    tiny_models.llama(len(tokenizer), tokenizer=tokenizer, **size, **heads).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
