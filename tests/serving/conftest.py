"""One service that all tests share which only ask it."""

import pytest
from rerank_service import by_length, running


@pytest.fixture(scope="session")
def url():
    with running(by_length(), aliases=("rerank-v3.5",)) as found:
        yield found
