"""The index that the tests of feedback search in."""

import pytest
from small_index import IDS, TEXTS, VECTORS

from rerank_plugins.feedback import FaissIndex


@pytest.fixture(scope="session")
def index():
    """A flat index of the small collection."""
    return FaissIndex.build(VECTORS, ids=IDS, texts=TEXTS)
