"""Labels read from a report of the likeliest few tokens."""

from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.backends._answers.logprobs import Position, read_labels

LOGPROBS = st.floats(-30, -1e-3).map(lambda x: round(x, 3))
TOKENS = [*"ABCDEFGH", *[" A", " B", " C", "▁A", "▁D", "ĠE", "AA", "[", "The", ","]]


@given(
    st.lists(LOGPROBS, min_size=len(TOKENS), max_size=len(TOKENS)),
    st.integers(2, 8),
    st.sampled_from((1, 5, 20)),
)
def test_what_is_read_of_a_capped_report_is_the_full_distributions(values, n, k):
    """Several tokens may spell a label: the likeliest counts, with and without a cap."""
    vocabulary = dict(zip(TOKENS, values, strict=True))
    labels = TOKENS[:n]
    full = {
        label: max(x for token, x in vocabulary.items() if token.lstrip(" ▁Ġ") == label)
        for label in labels
    }
    top = sorted(vocabulary.items(), key=lambda pair: -pair[1])[:k]
    found = read_labels([Position(top[0][0], tuple(top))], labels)
    assert found.seen == {x: full[x] for x in found.seen}
    assert found.floor == top[-1][1]
    assert all(full[label] <= found.floor for label in set(labels) - set(found.seen))
    assert all(value >= found.floor for value in found.seen.values())
    if k >= len(TOKENS):
        assert found.seen == full
