"""Words of the best passages, added to a query: RM3 with a reranker's weights."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_words import PASSAGES, QUERY, key

from rerank_plugins import InputError, UnknownNameError
from rerank_plugins.feedback import Words, expand_query
from rerank_plugins.feedback._words import STOP_WORDS, words_of, written_query

SCORES = [key(QUERY, text) for text in PASSAGES]
PLAIN = st.lists(st.sampled_from(["flea", "lifespan", "weeks", "dog", "market"]), max_size=8)


def rm3(query, passages, scores, *, terms, best):
    """RM3 as it is published, for passages that were all ranked, without ties: a restatement."""
    n = len(passages)
    order = sorted(range(n), key=lambda i: -scores[i])
    rank = {i: 1 + place for place, i in enumerate(order)}

    def standard(values):
        mean = sum(values) / n
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / n)
        return [(v - mean) / spread for v in values]

    logs = standard([-math.log(rank[i]) for i in range(n)])
    sums = [a + b for a, b in zip(standard(scores), logs, strict=True)]
    y = standard(sums)
    model = Counter()
    chosen = [i for i in order[:best] if y[i] > 0]
    for i in chosen:
        words = re.findall("[a-z0-9]+", passages[i].lower())
        for word in set(words):
            model[word] += y[i] / sum(y[j] for j in chosen) * words.count(word) / len(words)
    own = re.findall("[a-z0-9]+", query.lower())
    kept = {w: p for w, p in model.items() if w not in own and w not in STOP_WORDS}
    kept = {w: p for w, p in kept.items() if len(w) > 2 and not w.isdigit()}
    top = sorted(kept, key=lambda w: (-kept[w], w))[:terms]
    return {w: kept[w] / sum(kept[v] for v in top) for w in top}


@given(
    texts=st.lists(PLAIN, min_size=4, max_size=12),
    terms=st.integers(1, 6),
    best=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_the_words_are_those_of_rm3(texts, terms, best, seed):
    passages = [" ".join(words) for words in texts]
    scores = np.random.default_rng(seed).permutation(len(texts)).astype(float).tolist()
    method = Words(terms=terms, passages=best, doubt=None)
    found = expand_query("old dog", passages, scores, method=method)
    expected = rm3("old dog", passages, scores, terms=terms, best=best)
    assert dict(found.terms) == pytest.approx(expected)
    assert bool(found.skipped) == (not expected)


def test_what_the_reranker_liked_gives_the_words():
    found = expand_query(QUERY, PASSAGES, SCORES)
    assert set(found.terms) & {"parasite", "lifespan", "weeks"}
    assert "market" not in found.terms
    assert found.trust == 1
    assert found.share == 0.4
    other = expand_query(QUERY, PASSAGES, [-s for s in SCORES], method="bold")
    assert "lifespan" not in other.terms


def test_rocchio_takes_away_what_the_others_have():
    passages = ["flea weeks shared", "flea weeks shared", "dog shared shared", "cat shared shared"]
    scores = [4.0, 3.0, 0.0, -1.0]
    rocchio = Words(form="rocchio", doubt=None)
    mean = 1 / 3 - 0.2 * 2 / 3  # of "shared": in the best, minus a fifth of the others
    found = expand_query("flea", passages, scores, method=rocchio)
    assert dict(found.terms) == pytest.approx(
        {"weeks": (1 / 3) / (1 / 3 + mean), "shared": mean / (1 / 3 + mean)}
    )


@given(
    query=st.text(max_size=40),
    terms=st.dictionaries(st.sampled_from(["weeks", "lifespan", "x1y"]), st.floats(0.1, 1)),
    share=st.floats(0.1, 0.9),
)
def test_the_query_stays_as_it_was_and_comes_last(query, terms, share):
    total = sum(terms.values())
    weights = {word: weight / total for word, weight in terms.items()}
    written = written_query(query, weights, share)
    assert written == query or written.endswith(f" {query}")
    counts = Counter(words_of(written.removesuffix(query)))
    copies = {counts[w] // n for w, n in Counter(words_of(query)).items() if w not in terms}
    assert len(copies) <= 1  # every word of the query is repeated alike, and never left out
    assert all(counts[word] >= 1 for word in terms)


def test_shares_are_kept_to_the_nearest_whole_number():
    written = written_query("how long does a flea live", {"weeks": 0.7, "days": 0.3}, 0.5).split()
    counts = Counter(written)
    assert counts["flea"] == 1
    assert (counts["weeks"], counts["days"]) == (4, 2)


HOSTILE = [
    'title:"flea" AND NOT dog OR (cat)^100 +must -never ~2 /re.*/ {!lucene} _exists_:x [a TO b] \\',
    "'; DROP TABLE passages; -- <script> {{7*7}} ${jndi:ldap://x} %00 \u202e \x00 \ufdfa",
    "and or not near to AND OR NOT NEAR TO AND OR NOT",
    "__proto__ $where a*b w?ldcard \uff0b\uff46\uff55\uff4c\uff1a \u201cq\u201d \uff41\uff4e\uff44",
]


@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE)), min_size=4, max_size=6))
@example(HOSTILE)
def test_hostile_passages_write_no_syntax(passages):
    scores = [float(i) for i in range(len(passages))]
    query = 'my own "phrase" -without:'
    found = expand_query(query, passages, scores, method="bold")
    assert found.query.endswith(query)
    added = found.query[: -len(query)]
    assert re.fullmatch(r"(?:[^\W_]+ )*", added)
    assert not {"and", "or", "not", "near", "to"} & set(found.terms)
    assert all(word == word.lower() for word in added.split())


def test_a_bad_teacher_is_not_trusted():
    rng = np.random.default_rng(5)
    trusts = []
    for _ in range(60):
        order = rng.permutation(18)
        trusts.append(expand_query(QUERY, PASSAGES[:18], order=order).trust)
    assert np.mean(trusts) < 0.25
    own = np.arange(30.0, 12.0, -1)
    reversed_ = expand_query(QUERY, PASSAGES[:18], -own, found=own)
    assert (reversed_.trust, reversed_.query) == (0, QUERY)
    assert "random" in reversed_.skipped


def test_passages_that_were_not_reranked_are_no_evidence():
    scores = [*np.random.default_rng(1).permutation(6).tolist(), *[math.nan] * 24]
    passages = [*(f"flea part number{i}" for i in range(6)), *PASSAGES[6:]]
    assert expand_query(QUERY, passages, scores).trust < 1
    assert expand_query(QUERY, passages, scores, method="bold").terms


@pytest.mark.parametrize(
    ("passages", "scores", "says"),
    [
        ([], [], "fewer than two"),
        (["a flea"], [1.0], "fewer than two"),
        (["a flea", "dogs"], [1.0, 1.0], "same score"),
        (["a flea", "dogs"], [1.0, math.inf], "infinite"),
        (["to be", "or not", "to", ""], [4.0, 3.0, 1.0, 0.0], "no word"),
        (["", "", "", ""], [4.0, 3.0, 1.0, 0.0], "no word"),
    ],
)
def test_where_nothing_can_be_learned_the_query_stays(passages, scores, says):
    found = expand_query("flea", passages, scores, method="bold")
    assert (found.query, dict(found.terms)) == ("flea", {})
    assert says in found.skipped


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"scores": [1.0]}, "shape"),
        ({"scores": None}, "nothing to learn"),
        ({"order": [0, 0]}, "order"),
        ({"found": [1.0]}, "found has 1"),
        ({"method": 5}, "not a method"),
        ({"method": {"name": "safe", "degrees": 3}}, "degrees"),
    ],
)
def test_arguments_that_make_no_sense(arguments, says):
    given = {"scores": [2.0, 1.0]} if set(arguments) & {"found", "method"} else {}
    with pytest.raises(InputError, match=says):
        expand_query("flea", ["a flea", "a dog"], **given | arguments)


@pytest.mark.parametrize(
    "constants",
    [{"terms": 0}, {"passages": 0}, {"share": 0}, {"share": 1}, {"form": "x"}, {"doubt": math.nan}],
)
def test_constants_out_of_range(constants):
    with pytest.raises(InputError, match=next(iter(constants))):
        Words(**constants)


def test_names_of_methods():
    with pytest.raises(UnknownNameError, match="bold"):
        expand_query("flea", ["a", "b"], [1.0, 0.0], method="bolt")
