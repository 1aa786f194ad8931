"""Qdrant's formulas: against plain loops, PyTorch, and Qdrant itself."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.feedback import QdrantNaive, Sefr, find_method, refine_query


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def problem(seed, n=12, dim=6):
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=dim)), unit(rng.normal(size=(n, dim))), rng.normal(size=n)


def naive_scores(query, passages, scores, a, b, c, candidates):
    """The score of each candidate, pair by pair."""
    found = []
    for x in candidates:
        score = a * float(query @ x)
        for i, j in itertools.permutations(range(len(scores)), 2):
            if scores[i] > scores[j]:
                near = float(passages[i] @ x) - float(passages[j] @ x)
                score += (scores[i] - scores[j]) ** b * c * near
        found.append(score)
    return np.array(found)


def sefr_by_definition(passages, scores, threshold):
    """The decision value's weights, dimension by dimension."""
    weights = []
    for column in passages.T:
        span = column.max() - column.min() or 1.0
        scaled = [(value - column.min()) / span for value in column]
        yes = [x for x, s in zip(scaled, scores, strict=True) if s > threshold]
        no = [x for x, s in zip(scaled, scores, strict=True) if s <= threshold]
        up, down = sum(yes) / len(yes), sum(no) / len(no)
        weights.append((up - down) / (up + down + 1e-7) / span)
    return np.array(weights)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("coefficients", [(1.0, 1.0, 1.0), (0.7, 0.4, 0.02), (1.0, -0.5, 0.1)])
def test_naive_scores_passages_as_qdrant_does(seed, coefficients):
    query, passages, scores = problem(seed)
    others = unit(np.random.default_rng(seed + 99).normal(size=(20, 6)))
    method = QdrantNaive(coefficients=coefficients, items=None)
    found = refine_query(query, passages, scores, method=method)
    expected = naive_scores(query, passages, scores, *coefficients, others)
    assert np.allclose(others @ found.vector, expected, atol=1e-9)


def test_naive_is_what_a_real_qdrant_answers():
    models = pytest.importorskip("qdrant_client.models")
    from qdrant_client import QdrantClient

    query, passages, scores = problem(3, n=40)
    client = QdrantClient(":memory:")
    client.create_collection(
        "c", vectors_config=models.VectorParams(size=6, distance=models.Distance.COSINE)
    )
    points = [models.PointStruct(id=i, vector=v.tolist()) for i, v in enumerate(passages)]
    client.upsert("c", points)
    feedback = [
        models.FeedbackItem(example=passages[i].tolist(), score=float(scores[i])) for i in range(5)
    ]
    params = models.NaiveFeedbackStrategyParams(a=0.9, b=0.6, c=0.1)
    asked = models.RelevanceFeedbackQuery(
        relevance_feedback=models.RelevanceFeedbackInput(
            target=query.tolist(),
            feedback=feedback,
            strategy=models.NaiveFeedbackStrategy(naive=params),
        )
    )
    theirs = client.query_points("c", query=asked, limit=10).points
    client.close()
    method = QdrantNaive(coefficients=(0.9, 0.6, 0.1))  # of the first 5
    ours = passages @ refine_query(query, passages, scores, method=method).vector
    assert [p.id for p in theirs] == np.argsort(-ours)[:10].tolist()
    assert np.allclose([p.score for p in theirs], np.sort(ours)[::-1][:10], atol=1e-5)


def test_only_the_first_reranked_passages_count():
    query, passages, scores = problem(0)
    scores[2] = np.nan  # the sixth is then the fifth that was reranked
    found = refine_query(query, passages, scores, method="qdrant-naive").vector
    kept = [0, 1, 3, 4, 5]
    alone = refine_query(query, passages[kept], scores[kept], method=QdrantNaive(items=None))
    assert np.allclose(found, alone.vector)


@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-50, 50))
def test_a_shift_of_the_scores_changes_nothing(seed, factor, shift):
    query, passages, scores = problem(seed)
    for method in ("qdrant-naive", "sefr"):
        one = refine_query(query, passages, scores, method=method).vector
        other = refine_query(query, passages, scores + shift, method=method).vector
        assert np.allclose(one, other, atol=1e-6)
    one = refine_query(query, passages, scores, method="sefr").vector
    other = refine_query(query, passages, factor * scores, method="sefr").vector
    assert np.allclose(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_sefr_is_its_definition(seed):
    query, passages, scores = problem(seed)
    expected = sefr_by_definition(passages, scores, scores.mean())
    assert np.allclose(refine_query(query, passages, scores, method="sefr").vector, expected)
    method = Sefr(threshold=0.3, target_weight=0.5)
    expected = sefr_by_definition(passages, scores, 0.3)
    blended = expected + 0.5 * np.linalg.norm(expected) * query
    assert np.allclose(refine_query(query, passages, scores, method=method).vector, blended)


def test_what_cannot_be_learned_from_keeps_the_query_and_says_why():
    query, passages, scores = problem(0)
    cases = [
        (Sefr(threshold=99.0), passages, scores, "same side"),
        (Sefr(), np.ones_like(passages), scores, "same vector"),
        (QdrantNaive(), passages, [1.0] * 5 + [2.0] * 7, "same score"),
        (QdrantNaive(coefficients=(0, 1, 0)), passages, scores, "zeros"),
        (QdrantNaive(coefficients=(1, 1e6, 1)), passages, 1e9 * scores, "too large"),
        (QdrantNaive(), passages, [1.0] + [np.nan] * 11, "fewer than two"),
    ]
    for method, rows, given_, reason in cases:
        found = refine_query(query, rows, given_, method=method)
        assert reason in found.skipped
        assert np.array_equal(found.vector, query)


def test_both_need_scores():
    query, passages, _ = problem(0)
    for method in ("qdrant-naive", "sefr"):
        with pytest.raises(InputError, match="needs scores"):
            refine_query(query, passages, order=[1, 0], method=method)


@pytest.mark.parametrize("wrong", [(), (1, 2), (1, 2, 3, 4), (1, 2, np.nan), "123", 5, ("a",) * 3])
def test_coefficients_of_the_wrong_number_or_kind_are_refused(wrong):
    with pytest.raises(InputError, match=r"expected three finite numbers.*trained"):
        QdrantNaive(coefficients=wrong)
    with pytest.raises(InputError, match="three finite numbers"):
        find_method({"name": "qdrant-naive", "coefficients": wrong})


def test_other_constants_out_of_range_are_refused():
    with pytest.raises(InputError, match="items is 1"):
        QdrantNaive(items=1)
    with pytest.raises(InputError, match="target_weight"):
        Sefr(target_weight=-1)
    with pytest.raises(InputError, match="has no a"):
        find_method({"name": "qdrant-naive", "a": 1})


# --- training ----------------------------------------------------------------------------------


def lessons(seed, queries=30, k=15, dim=8):
    rng = np.random.default_rng(seed)
    asked = unit(rng.normal(size=(queries, dim)))
    passages = unit(rng.normal(size=(queries, k, dim)))
    order = np.argsort(-np.einsum("qkd,qd->qk", passages, asked), axis=1)
    passages = np.take_along_axis(passages, order[..., None], axis=1)
    meant = asked + 0.7 * unit(rng.normal(size=(queries, dim)))
    return asked, passages, np.einsum("qkd,qd->qk", passages, meant)


def torch_loss(params, own, gap, delta, target):
    """The hinge loss over all pairs of each query's passages, pair by pair."""
    import torch

    scores = params[0] * own + gap ** params[1] * delta * params[2]
    pairs = itertools.permutations(range(scores.shape[1]), 2)
    return sum(
        torch.clamp(one[j] - one[i] + 0.01, min=0)
        for i, j in pairs
        for one, wanted in zip(scores, target, strict=True)
        if wanted[i] > wanted[j]
    )


def torch_training(queries, passages, scores, items, epochs, patience):
    """The published training: one pair a query, a hinge loss, Adam, early stopping."""
    import torch

    rows = []
    for q, vectors, said in zip(queries, passages, scores, strict=True):
        best, worst = np.argmax(said[:items]), np.argmin(said[:items])
        delta = vectors[items:] @ (vectors[best] - vectors[worst])
        gap = np.full(len(delta), said[best] - said[worst])
        rows.append((vectors[items:] @ q, gap, delta, said[items:]))
    table = [torch.tensor(np.array(part)) for part in zip(*rows, strict=True)]
    half = len(rows) // 2
    params = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimiser = torch.optim.Adam([params], lr=0.005)
    best, kept, since = np.inf, None, 0
    for _ in range(epochs):
        optimiser.zero_grad()
        torch_loss(params, *(part[:half] for part in table)).backward()
        optimiser.step()
        held = float(torch_loss(params, *(part[half:] for part in table)).detach())
        since = 0 if held + 1e-6 < best else since + 1
        if not since:
            best, kept = held, params.detach().clone().numpy()
        if since >= patience:
            break
    return kept


def test_training_is_the_published_one():
    queries, passages, scores = lessons(1, queries=4, k=6)
    found = QdrantNaive.trained(queries, passages, scores, items=3, epochs=10, patience=5)
    expected = torch_training(queries, passages, scores, 3, 10, 5)
    assert np.allclose(found.coefficients, expected, atol=1e-9)
    assert found.items == 3


def test_trained_coefficients_order_passages_better_than_the_query_alone():
    queries, passages, scores = lessons(0)
    method = QdrantNaive.trained(queries, passages, scores)
    refined = refine_query(queries, passages, scores, method=method)
    assert np.mean(refined.loss_after) < np.mean(refined.loss_before)


def test_training_without_enough_to_learn_from_is_refused():
    queries, passages, scores = lessons(0, queries=4)
    for changed, message in [
        ((queries, passages[:, :6], scores[:, :6]), "6 passages a query"),
        ((queries, passages, np.ones_like(scores)), "0 queries have different scores"),
        ((queries, passages, np.where(scores > 0, scores, np.nan)), "missing"),
        ((queries, passages, scores[:, :3]), "shape"),
    ]:
        with pytest.raises(InputError, match=message):
            QdrantNaive.trained(*changed)
