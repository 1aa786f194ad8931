"""The package's face: names that need torch are imported when they are asked for."""

import subprocess
import sys

import pytest

from rerank_plugins import training


def test_every_name_is_there_and_others_are_not():
    assert training.__all__ == sorted(training.__all__)
    for name in training.__all__:
        assert getattr(training, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        training.nothing  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_what_is_missing_is_named_with_its_extra(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
from rerank_plugins.training import TrainingList, data, rewards
from rerank_plugins.training import train
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    last = found.stderr.splitlines()[-1]
    assert last.startswith(f"rerank_plugins.errors.MissingExtraError: {missing} is not installed")
    assert "rerank-plugins[t" in last
