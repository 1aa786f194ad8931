"""Tiny models, exported: real graphs of a few thousand random weights."""

import functools
import shutil
import tempfile
from pathlib import Path

import tiny_models

WORDS = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "very", "good", "cat", "flea", "life", "of", "sea"],
    *["A", "B", "?", ":", "true", "false", "query", "document", "passage", "relevant", "the", "x"],
    *[
        "how",
        "long",
        "does",
        "live",
        "adult",
        "cats",
        "sleep",
        "city",
        "for",
        "two",
        "months",
        "##s",
    ],
]


@functools.cache
def _made(kind, precision):
    from rerank_plugins.backends._onnx.export import export_weights

    source, folder = (Path(tempfile.mkdtemp()) for _ in range(2))
    options = {"num_labels": 1} if kind == "BertForSequenceClassification" else {}
    tiny_models.bert(WORDS, source, kind, initializer_range=0.3, **options)
    export_weights(str(source), folder, precision)
    return source, folder


def bert(folder, kind="BertForSequenceClassification", precision="fp32"):
    """A BERT that was exported into ``folder``.

    Args:
        folder: Where to.
        kind: Its class in transformers.
        precision: Of its weights.

    Returns:
        The folder with torch's weights.
    """
    source, made = _made(kind, precision)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return source
