"""The table of what backends answer is what they answer."""

import pytest


def test_the_documents_have_the_table_of_this_code(tokenizer):
    pytest.importorskip("haystack")
    pytest.importorskip("llama_index.core")
    import capabilities

    made = capabilities.table(tokenizer)
    assert capabilities.written() == made, "run: python tests/helpers/capabilities.py"
