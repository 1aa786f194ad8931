"""Lists of two searches and a reranker, fused into one."""

import pytest
from small_index import QUERY, searcher

from rerank_plugins.feedback import fused


@pytest.mark.parametrize("fuse", ["head", "rrf", "second"])
def test_every_fusion_gives_each_passage_once(index, fuse):
    found = searcher(index, fuse=fuse, head=5).search("a question", QUERY)
    ids = [hit.id for hit in found.hits]
    assert len(ids) == len(set(ids))
    if fuse == "second":
        assert tuple(ids) == found.second
    else:
        assert set(ids) == set(found.first) | set(found.second)
    if fuse == "head":
        assert tuple(ids[:5]) == found.reranked[:5]
        assert ids[5:10] == [i for i in found.second if i not in found.reranked[:5]][:5]


def test_fusions_by_their_definition():
    assert fused("ba", "abc", "dab", fuse="rrf") == sorted(
        "abcd",
        key=lambda d: (
            -sum(
                1 / (60 + r) for ranked in ("bac", "dab") for r, x in enumerate(ranked, 1) if x == d
            )
        ),
    )
    assert fused("", "", "") == []
