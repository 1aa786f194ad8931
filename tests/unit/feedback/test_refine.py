"""The numerical half of feedback, against PyTorch, finite differences and its own laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rerank_plugins import InputError, UnknownNameError
from rerank_plugins.feedback import First, Refit, Turn, refine_query
from rerank_plugins.feedback._refine.opinion import mean_ranks
from rerank_plugins.feedback._refine.published import adam, softmax_kl, weighted_ranknet

METHODS = ["safe", "bold", "refit", "first"]


def problem(seed, n=30, dim=16, noise=0.5):
    """A query, passages, and a reranker that knows what the user means."""
    rng = np.random.default_rng(seed)
    query, passages = rng.normal(size=dim), rng.normal(size=(n, dim))
    hidden = query + rng.normal(size=dim)
    return query, passages, passages @ hidden + noise * rng.normal(size=n), hidden


# --- the published recipes, against PyTorch ------------------------------------------------------


def torch_adam(loss, start, rate, steps):
    import torch

    query = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([query], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(query).backward()
        optimiser.step()
    return query.detach().numpy()


def torch_refit(query, passages, scores):
    """Stage 1 of the authors' distillation script: KLDivLoss with a log target."""
    import torch

    vectors = torch.tensor(passages, dtype=torch.float64)
    teacher = torch.log_softmax(torch.tensor(scores, dtype=torch.float64), dim=0)
    student = passages @ query
    scale = (scores.max() - scores.min()) / (student.max() - student.min()) / 2
    kl = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)

    def loss(q):
        return kl(torch.log_softmax(scale * (vectors @ q), dim=0)[None], teacher[None])

    return torch_adam(loss, query, 0.005, 100)


def torch_ranknet(start, passages, ranks, target_range):
    """Stage 2: weighted RankNet through binary cross-entropy with logits."""
    import torch

    vectors = torch.tensor(passages, dtype=torch.float64)
    student = passages @ start
    scale = target_range / (student.max() - student.min()) / 2
    pairs = [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]
    better, worse = (torch.tensor(side) for side in zip(*pairs, strict=True))
    weight = torch.tensor([1 / (ranks[i] + ranks[j]) for i, j in pairs], dtype=torch.float64)
    bce = torch.nn.BCEWithLogitsLoss(weight=weight)

    def loss(q):
        s = scale * (vectors @ q)
        return bce(s[better] - s[worse], torch.ones(len(pairs), dtype=torch.float64))

    return torch_adam(loss, start, 0.001, 20)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "dim"), [(2, 8), (20, 4), (30, 64)])
def test_refit_is_the_published_recipe(seed, n, dim):
    query, passages, scores, _ = problem(seed, n, dim)
    expected = torch_refit(query, passages, scores)
    found = refine_query(query, passages, scores, method="refit")
    assert np.abs(found.vector - expected).max() < 1e-5
    assert found.loss_after < found.loss_before


@pytest.mark.parametrize("seed", range(5))
def test_first_is_the_published_second_stage_on_an_order(seed):
    query, passages, scores, _ = problem(seed, 25, 12)
    order = np.argsort(-scores)
    ranks = np.empty(25)
    ranks[order] = np.arange(1.0, 26)
    expected = torch_ranknet(query, passages, ranks, np.ptp(passages @ query))
    assert (
        np.abs(refine_query(query, passages, order=order, method="first").vector - expected).max()
        < 1e-5
    )
    # Scores of a language model count by their order.
    by_score = refine_query(query, passages, 1000 * scores, method="first")
    assert np.abs(by_score.vector - expected).max() < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_first_runs_both_stages_where_it_has_scores_and_an_order(seed):
    query, passages, scores, _ = problem(seed, 20, 12)
    order = np.random.default_rng(seed).permutation(20)
    ranks = np.empty(20)
    ranks[order] = np.arange(1.0, 21)
    between = torch_refit(query, passages, scores)
    expected = torch_ranknet(between, passages, ranks, np.ptp(passages @ query))
    found = refine_query(query, passages, scores, order=order, method="first")
    assert np.abs(found.vector - expected).max() < 1e-5


def test_tied_scores_make_no_pair():
    query, passages, _, _ = problem(0, 4, 6)
    ranks = np.array([1.5, 1.5, 3.0, 4.0])
    expected = torch_ranknet(query, passages, ranks, np.ptp(passages @ query))
    found = refine_query(query, passages, [3.0, 3.0, 2.0, 1.0], method="first")
    assert np.abs(found.vector - expected).max() < 1e-5


def test_passages_that_were_not_reranked_are_left_out_of_the_published_recipes():
    query, passages, scores, _ = problem(1, 30)
    part = np.where(np.arange(30) < 12, scores, np.nan)
    for method in ("refit", "first"):
        if method == "refit":
            expected = torch_refit(query, passages[:12], scores[:12])
        else:
            ranks = mean_ranks(scores[None, :12])[0]
            expected = torch_ranknet(query, passages[:12], ranks, np.ptp(passages[:12] @ query))
        found = refine_query(query, passages, part, method=method)
        assert np.abs(found.vector - expected).max() < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_gradients_agree_with_finite_differences(seed):
    query, passages, scores, _ = problem(seed, 9, 5)
    target = np.exp(scores - np.logaddexp.reduce(scores))
    objectives = [
        lambda q: softmax_kl(q, passages, target, 0.7),
        lambda q: weighted_ranknet(q, passages, mean_ranks(scores[None])[0], 0.7),
    ]
    for objective in objectives:
        _, gradient = objective(query)
        for i, unit in enumerate(np.eye(5) * 1e-6):
            slope = (objective(query + unit)[0] - objective(query - unit)[0]) / 2e-6
            assert abs(slope - gradient[i]) < 1e-6


def test_objectives_at_their_minimum_and_of_nothing():
    query, passages, _, _ = problem(0, 6, 4)
    logits = 0.3 * passages @ query
    loss, gradient = softmax_kl(query, passages, np.exp(logits - np.logaddexp.reduce(logits)), 0.3)
    assert abs(loss) < 1e-12
    assert np.abs(gradient).max() < 1e-12
    assert weighted_ranknet(query, passages, np.ones(6))[0] == 0
    with pytest.raises(InputError, match="distribution"):
        softmax_kl(query, passages, np.ones(6))
    with pytest.raises(InputError, match="shape"):
        weighted_ranknet(query, passages, np.ones(5))


def test_adam_is_pytorchs():
    import torch

    scales = np.array([1.0, 10.0, 1e-12])

    def loss(x):
        return ((x - 1) ** 2 * torch.tensor(scales)).sum()

    found = adam(lambda x: (0.0, 2 * (x - 1) * scales), np.zeros(3), rate=0.01, steps=50)
    assert np.abs(found - torch_adam(loss, np.zeros(3), 0.01, 50)).max() < 1e-9


# --- the default -------------------------------------------------------------------------------


def by_definition(query, passages, scores, degrees=25.0, smoothing=10.0):
    """The turn of a trusted reranker, written down from its formula."""

    def standardise(x):
        return (x - x.mean()) / x.std()

    ranks = np.array([(scores > s).sum() + ((scores == s).sum() + 1) / 2 for s in scores])
    y = standardise(standardise(scores) + standardise(-np.log(ranks)))
    centred = passages - passages.mean(axis=0)
    gram = centred @ centred.T
    ridge = smoothing * np.trace(gram) / len(y) * np.eye(len(y))
    towards = centred.T @ np.linalg.inv(gram + ridge) @ y
    length = np.linalg.norm(query)
    unit = query / length
    aside = towards - towards @ unit * unit
    aside /= np.linalg.norm(aside)
    angle = np.radians(degrees)
    return length * (np.cos(angle) * unit + np.sin(angle) * aside)


@pytest.mark.parametrize("seed", range(5))
def test_the_default_is_its_formula(seed):
    query, passages, scores, _ = problem(seed, 40, 12, noise=0.1)
    found = refine_query(query, passages, scores)
    assert found.trust == 1
    assert np.abs(found.vector - by_definition(query, passages, scores)).max() < 1e-9
    bold = refine_query(query, passages, scores, method="bold")
    assert np.abs(bold.vector - by_definition(query, passages, scores, 45, 3)).max() < 1e-9


def test_it_finds_what_the_user_means():
    gains = []
    for seed in range(30):
        query, passages, scores, hidden = problem(seed, 60, 16, noise=1.0)
        refined = refine_query(query, passages, scores)
        unit = hidden / np.linalg.norm(hidden)
        gains.append((refined.vector - query) @ unit)
        assert refined.loss_after < refined.loss_before
    assert min(gains) > 0


def test_a_random_reranker_moves_little_and_a_reversed_one_nothing():
    trust = []
    for seed in range(200):
        query, passages, _, _ = problem(seed, 50, 32)
        random = refine_query(query, passages, np.random.default_rng(seed + 999).normal(size=50))
        trust.append(random.trust)
        reversed_ = refine_query(query, passages, -(passages @ query))
        assert reversed_.trust == 0
        assert "random" in reversed_.skipped
        assert (reversed_.vector == query).all()
    assert np.mean(trust) < 0.2


def test_a_consistent_reranker_that_contradicts_the_retriever_is_not_followed():
    """Scores that are smooth over the vectors, and point a little away from the query."""
    for seed in range(20):
        query, passages, _, hidden = problem(seed, 60, 16)
        aside = hidden - hidden @ query / (query @ query) * query
        away = aside / np.linalg.norm(aside) - 0.3 * query / np.linalg.norm(query)
        found = refine_query(query, passages, passages @ away)
        if np.corrcoef(passages @ away, passages @ query)[0, 1] < -0.1:
            assert found.trust == 0
        towards = refine_query(query, passages, passages @ (away + query))
        assert towards.trust > 0.9


def test_a_passage_that_was_not_reranked_counts_as_the_lowest():
    query, passages, scores, _ = problem(3, 40, 12, noise=0.1)
    head = np.where(np.arange(40) < 20, scores, np.nan)
    lowest = np.where(np.arange(40) < 20, scores, scores[:20].min())
    found = refine_query(query, passages, head)
    # The same scores, but not the same ranks: the lowest that was reranked is above the others.
    assert np.abs(found.vector - refine_query(query, passages, lowest).vector).max() < 0.2
    order = np.argsort(-scores[:20])
    alone = refine_query(query, passages, order=order)
    assert alone.skipped == found.skipped == ""
    below = refine_query(query, passages, order=[*order, *range(20, 40)])
    assert not np.allclose(alone.vector, below.vector)  # the order below was not given


def test_ties_share_their_rank_whatever_their_order():
    query, passages, scores, _ = problem(5, 30, 8)
    grades = np.round(scores)
    shuffle = np.random.default_rng(0).permutation(30)
    one = refine_query(query, passages, grades)
    other = refine_query(query, passages[shuffle], grades[shuffle])
    assert np.abs(one.vector - other.vector).max() < 1e-9
    assert mean_ranks(np.array([[2.0, 1.0, 2.0, 0.0]])).tolist() == [[1.5, 3.0, 1.5, 4.0]]


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.floats(-100, 100), st.floats(1e-6, 1e6))
def test_scaling_changes_nothing(seed, factor, shift, length):
    query, passages, scores, _ = problem(seed, 25, 8, noise=0.2)
    for method in ("safe", "bold"):
        one = refine_query(query, passages, scores, method=method)
        scored = refine_query(query, passages, factor * scores + shift, method=method)
        assert np.abs(one.vector - scored.vector).max() < 1e-5
        scaled = refine_query(length * query, factor * passages, scores, method=method)
        assert np.abs(length * one.vector - scaled.vector).max() < 1e-5 * length


@given(
    arrays(np.float64, (12, 4), elements=st.floats(-1e6, 1e6, width=32)),
    arrays(np.float64, 12, elements=st.floats(-1e30, 1e30) | st.just(float("nan"))),
    arrays(np.float64, 4, elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(["safe", "bold"]),
)
def test_whatever_comes_in_the_vector_is_finite_and_keeps_its_length(
    passages, scores, query, method
):
    found = refine_query(query, passages, scores, method=method)
    assert np.isfinite(found.vector).all()
    assert np.isfinite([found.angle, found.displacement, found.loss_before, found.loss_after]).all()
    assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(query), rel=1e-6)
    assert found.angle <= 45.01
    if found.skipped:
        assert (found.vector == query).all()
        assert found.angle == found.displacement == found.trust == 0


@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from(METHODS))
def test_a_batch_is_its_queries(seed, size, method):
    rng = np.random.default_rng(seed)
    queries, passages = rng.normal(size=(size, 6)), rng.normal(size=(size, 15, 6))
    scores = rng.normal(size=(size, 15))
    scores[rng.random((size, 15)) < 0.2] = np.nan
    passages[rng.random((size, 15)) < 0.1] = np.nan
    batch = refine_query(queries, passages, scores, method=method)
    assert batch.vector.shape == (size, 6)
    for i in range(size):
        one = refine_query(queries[i], passages[i], scores[i], method=method)
        assert np.abs(batch.vector[i] - one.vector).max() < 1e-9
        assert batch.skipped[i] == one.skipped
        for name in ("angle", "displacement", "loss_before", "loss_after", "trust"):
            assert getattr(batch, name)[i] == pytest.approx(getattr(one, name), abs=1e-9)


def test_a_large_batch_goes_through_in_parts_that_do_not_show():
    rng = np.random.default_rng(0)
    queries, passages = rng.normal(size=(50, 64)), rng.normal(size=(50, 100, 64))
    scores = np.einsum("bkd,bd->bk", passages, queries)
    batch = refine_query(queries, passages, scores)
    last = refine_query(queries[-1], passages[-1], scores[-1])
    assert np.abs(batch.vector[-1] - last.vector).max() < 1e-9
    assert len(batch.skipped) == len(batch.trust) == 50
    empty = refine_query(queries[:0], passages[:0], scores[:0])
    assert empty.vector.shape == (0, 64)
    assert empty.skipped == ()


def test_batches_of_different_lengths_are_padded_with_nan():
    query, passages, scores, _ = problem(2, 20, 8)
    padded = np.vstack([passages, np.full((5, 8), np.nan)])
    found = refine_query(query, padded, np.append(scores, [np.nan] * 5))
    assert np.abs(found.vector - refine_query(query, passages, scores).vector).max() < 1e-9
    # Also where the padding has scores: a passage without a vector says nothing.
    found = refine_query(query, padded, np.append(scores, [99.0] * 5))
    assert np.abs(found.vector - refine_query(query, passages, scores).vector).max() < 1e-9


def test_single_precision_stays_and_agrees():
    query, passages, scores, _ = problem(2, 50, 32)
    small = refine_query(query.astype(np.float32), passages.astype(np.float32), scores)
    assert small.vector.dtype == np.float32
    assert np.abs(small.vector - refine_query(query, passages, scores).vector).max() < 1e-4


# --- what cannot be learned from ---------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": np.full(10, 0.3)}, "same score"),
        ({"scores": np.full(10, np.nan)}, "fewer than two"),
        ({"scores": [1.0] + [np.nan] * 9}, "fewer than two"),
        ({"scores": [np.inf] + [1.0] * 9}, "infinite"),
        ({"query": np.zeros(4)}, "zero"),
        ({"passages": np.ones((10, 4))}, "same"),
        ({"passages": np.full((10, 4), np.nan)}, "fewer than two"),
    ],
)
def test_degenerate_input_leaves_the_query_and_says_why(method, change, reason):
    query, passages, scores, _ = problem(0, 10, 4)
    given_ = {"query": query, "passages": passages, "scores": scores, **change}
    found = refine_query(given_["query"], given_["passages"], given_["scores"], method=method)
    assert reason in found.skipped
    assert (found.vector == given_["query"]).all()
    assert found.angle == found.displacement == found.trust == 0


@pytest.mark.parametrize("method", ["safe", "bold"])
def test_copies_in_single_precision_are_seen_as_copies(method):
    query, passages, scores, _ = problem(0, 30, 64)
    copies = np.repeat(passages[:1], 30, axis=0).astype(np.float32)
    found = refine_query(query.astype(np.float32), copies, scores, method=method)
    assert "same vector" in found.skipped


@pytest.mark.parametrize("method", METHODS)
def test_one_passage_and_none(method):
    query, passages, scores, _ = problem(0, 10, 4)
    assert refine_query(query, passages[:1], scores[:1], method=method).skipped
    assert refine_query(query, passages[:0], scores[:0], method=method).skipped


@pytest.mark.parametrize("method", METHODS)
def test_two_passages_duplicates_and_few_dimensions(method):
    query, passages, scores, _ = problem(0, 40, 3)  # fewer dimensions than passages
    for rows, values in (
        (passages, scores),
        (passages[:2], scores[:2]),
        (np.repeat(passages[:20], 2, axis=0), np.repeat(scores[:20], 2)),
        (np.vstack([passages[:1].repeat(39, axis=0), passages[1:2]]), scores),
    ):
        found = refine_query(query, rows, values, method=method)
        assert np.isfinite(found.vector).all()


def test_half_of_the_scores_tied_and_the_rest_unknown_still_says_something():
    query, passages, _, _ = problem(0, 30, 8)
    nearest = np.argsort(-(passages @ query))
    scores = np.full(30, np.nan)
    scores[nearest[:10]] = 1.0
    found = refine_query(query, passages, scores)
    assert found.skipped == ""  # ten are above the other twenty
    for method in ("refit", "first"):
        assert "same score" in refine_query(query, passages, scores, method=method).skipped


def test_numbers_too_large_for_the_published_recipes_are_no_result():
    query, passages, scores, _ = problem(0, 10, 4)
    for method in ("refit", "first"):
        found = refine_query(query, 1e200 * passages, 1e200 * scores, method=method)
        assert np.isfinite(found.vector).all()
    assert "too large" in refine_query(1e200 * query, passages, scores, method="refit").skipped
    assert "too large" in refine_query(query, 1e200 * passages, scores, method="first").skipped
    assert refine_query(query, 1e200 * passages, 1e200 * scores).skipped == ""


def test_none_is_a_passage_that_was_not_reranked():
    query, passages, scores, _ = problem(0, 10, 4)
    some = [None, *scores[1:]]
    expected = refine_query(query, passages, [np.nan, *scores[1:]]).vector
    assert (refine_query(query, passages, some).vector == expected).all()


def test_orders_of_every_kind():
    query, passages, scores, _ = problem(0, 30, 4)
    order = np.argsort(-scores)
    expected = refine_query(query, passages, order=order).vector
    for same in (order.tolist(), tuple(order), iter(order), order.astype(np.uint8)):
        assert (refine_query(query, passages, order=same).vector == expected).all()
    assert refine_query(query, passages, order=[]).skipped


def test_bad_input_is_refused():
    query, passages, scores, _ = problem(0, 10, 4)
    for wrong in (
        lambda: refine_query(query[:3], passages, scores),
        lambda: refine_query(query, passages, scores[:9]),
        lambda: refine_query(query, passages[0], scores),
        lambda: refine_query(query, passages),
        lambda: refine_query(query * np.nan, passages, scores),
        lambda: refine_query("abc", passages, scores),
        lambda: refine_query(query, passages, order=[0, 0, 1]),
        lambda: refine_query(query, passages, order=[0, 10]),
        lambda: refine_query(query, passages, order=[0.5, 1]),
        lambda: refine_query(query, passages, order=[-1, 1]),
        lambda: refine_query(query, passages, order=["a"]),
        lambda: refine_query(query, passages, order=[True, False]),
        lambda: refine_query(query, passages, order=5),
        lambda: refine_query(query[None], passages[None], order=5),
        lambda: refine_query(query + 1j, passages, scores),
        lambda: refine_query(query, passages, ["a"] * 10),
        lambda: refine_query(query[None], passages[None], order=[[0, 1], [1, 0]]),
        lambda: refine_query(query, passages, order=[1, 0], method="refit"),
        lambda: refine_query(query, passages, scores, method=Turn),
        lambda: refine_query(query, passages, scores, method={"name": "safe", "rate": 1}),
        lambda: Turn(degrees=0),
        lambda: Turn(degrees=91),
        lambda: Turn(smoothing=0),
        lambda: Turn(smoothing=float("nan")),
        lambda: Refit(rate=0),
        lambda: Refit(steps=-1),
        lambda: First(steps=0),
    ):
        with pytest.raises(InputError):
            wrong()
    with pytest.raises(UnknownNameError, match="bold"):
        refine_query(query, passages, scores, method="brave")


def test_inputs_are_left_alone_and_the_result_is_the_same_again():
    query, passages, scores, _ = problem(4)
    passages[3] = np.nan
    copies = query.copy(), passages.copy(), scores.copy()
    for method in METHODS:
        one = refine_query(query, passages, scores, method=method)
        assert (refine_query(query, passages, scores, method=method).vector == one.vector).all()
    for kept, now in zip(copies, (query, passages, scores), strict=True):
        assert np.array_equal(kept, now, equal_nan=True)


def test_lists_are_as_good_as_arrays():
    query, passages, scores, _ = problem(4, 10, 4)
    lists = refine_query(query.tolist(), passages.tolist(), scores.tolist())
    assert (lists.vector == refine_query(query, passages, scores).vector).all()


def test_a_method_of_ones_own():
    class Stay:
        def move(self, feedback):
            from rerank_plugins.feedback._refine.turn import Moved

            zero = np.zeros(len(feedback))
            return Moved(feedback.queries * 2, zero, zero, zero + 1, ("",) * len(feedback))

    query, passages, scores, _ = problem(0)
    assert (refine_query(query, passages, scores, method=Stay()).vector == 2 * query).all()
