"""Arguments of a batch job that are refused before Ray is started."""

import subprocess
import sys

import pytest

from rerank_plugins import ConfigurationError, InputError, Reranker
from rerank_plugins.jobs.ray import rank_dataset
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"actors": 0}, "actors is 0"),
        ({"top_k": 0}, "top_k is 0"),
        ({"patience_s": float("nan")}, "patience_s is nan"),
        ({"colour": 1}, "rank_dataset has no colour. It has "),
    ],
)
def test_bad_options(tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        rank_dataset(tmp_path / "in.jsonl", lambda: None, tmp_path / "out", **options)


def test_a_reranker_that_is_none(tmp_path):
    source = tmp_path / "in.jsonl"
    source.touch()
    with pytest.raises(InputError, match="Give a Reranker, its spec"):
        rank_dataset(source, 3, tmp_path / "out")
    with pytest.raises(ConfigurationError):  # it has no spec
        rank_dataset(source, Reranker(PairScore(), Oracle()), tmp_path / "out")


def test_without_ray_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from rerank_plugins.jobs.ray import rank_dataset\n"
        "rank_dataset(sys.argv[1], lambda: None, sys.argv[2])"
    )
    source = tmp_path / "in.jsonl"
    source.touch()
    arguments = [sys.executable, "-c", code, str(source), str(tmp_path / "out")]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert "rerank-plugins[ray]" in result.stderr.splitlines()[-1]
