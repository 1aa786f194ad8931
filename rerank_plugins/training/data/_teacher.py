"""Lists from a strong reranker's rankings: its order as labels, its scores beside them.

Asking a teacher takes hours. ``rerank-plugins rank`` writes its rankings into a run file, query by
query, and resumes after an interruption; `rerank_plugins.evaluation` reads the file, and
`taught_lists` makes lists of it. `labelled_lists` does both at once, for short runs.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from ..._checks import at_least
from ...errors import CallError, InputError
from ...evaluation import Collection, Run, Scores, check_run
from ...jobs import Query
from ...ranking import Ranking, Strategy
from ...reranker import Reranker
from ...strategies import SlidingWindow
from ._judgements import listed
from ._lists import OnSkip, TrainingList, informative, ranks_of, skip


def taught_lists(
    collection: Collection,
    run: Run,
    *,
    scores: Scores | None = None,
    order: Run | None = None,
    depth: int | None = None,
    on_skip: OnSkip | None = None,
) -> Iterator[TrainingList]:
    """Lists of a first stage, labelled by a teacher.

    Labels are minus the teacher's rank within the list, so the best passage has -1; passages with
    the same score share a rank. The passages are in the first stage's order, as the model will see
    them; `TrainingList.shuffled` gives another one. In the teacher's own order a model would learn
    that the first passage is the best.

    Args:
        collection: The texts.
        run: Document ids by query id, from a first stage, best first.
        scores: The teacher's, from `load_scores` or `teacher_scores`; they also become the lists'
            ``teacher``.
        order: The teacher's run instead of scores, where only its order is known.
        depth: Passages of each list; all when None.
        on_skip: Called with a sentence for each query that gives no list: the teacher ranked too
            few of its passages, or all of them alike. Without it, such a query is an error.

    Raises:
        InputError: Not exactly one of ``scores`` and ``order`` is given, the run is of another
            collection, or a query gives no list and there is no ``on_skip``.

    Examples:
        >>> documents = {"a": "a dog", "b": "a flea"}
        >>> known = Collection(documents=documents, queries={"q": "flea"}, qrels={})
        >>> [one] = taught_lists(known, {"q": ["a", "b"]}, scores={"q": {"a": -1.5, "b": 4.0}})
        >>> one.labels, one.teacher
        ((-2.0, -1.0), (-1.5, 4.0))
    """
    if (scores is None) == (order is None):
        raise InputError("give either scores or order")
    at_least(1, none=True, depth=depth)
    check_run(run, collection)
    for query, found in run.items():
        ids = found[:depth]
        if scores is None:
            opinion = {d: -float(r) for r, d in enumerate((order or {}).get(query, ()), start=1)}
        else:
            opinion = dict(scores.get(query, {}))
        if unknown := [document for document in ids if document not in opinion]:
            skip(
                f"the teacher did not rank {len(unknown)} of the {len(ids)} documents of the "
                f"query {query!r}, among them {unknown[0]!r}",
                on_skip,
            )
            continue
        if not ids:
            skip(f"nothing was found for the query {query!r}", on_skip)
            continue
        labels = [-float(rank) for rank in ranks_of([opinion[document] for document in ids])]
        teacher = None if scores is None else opinion
        made = listed(collection, query, ids, labels=labels, teacher=teacher)
        if informative(made, f"the list of the query {query!r}", on_skip):
            yield made


def labelled_lists(
    requests: Iterable[Query],
    reranker: Reranker,
    *,
    batch_size: int = 16,
    on_skip: OnSkip | None = None,
) -> Iterator[TrainingList]:
    """Label lists with a reranker: `taught` for each query's ranking.

    Args:
        requests: Queries with the passages of a first stage, from `jobs.read_requests` or
            `jobs.run_requests`.
        reranker: The teacher.
        batch_size: Queries that are ranked together.
        on_skip: Called with a sentence for each query that gives no list: a call failed, the
            teacher kept a part of the order because something went wrong, or there are fewer than
            two passages. Without it, such a query is an error.

    Raises:
        InputError: ``batch_size`` is below 1, or a query gives no list and there is no
            ``on_skip``.
        CallError: A call failed, and there is no ``on_skip``.

    Examples:
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> teacher = Reranker(PairScore(), Oracle(key=lambda query, passage: len(passage)))
        >>> request = Query("q", "flea", ("a dog", "the flea"), None)
        >>> [one.labels for one in labelled_lists([request], teacher)]
        [(-2.0, -1.0)]
    """
    for query, ranking in _asked(requests, reranker, batch_size, on_skip):
        made = taught(query, ranking)
        if informative(made, f"the list of the query {query.query_id!r}", on_skip):
            yield made


def taught(query: Query, ranking: Ranking) -> TrainingList:
    """The list of a query's passages, in their order, labelled by a ranking of them.

    Labels are minus the rank; passages with the same score share one. The scores become the list's
    ``teacher``, unless they say no more than the order (``score_kind="rank"``). Use it with
    rankings of your own, from ``arank_many`` for example.

    Raises:
        InputError: The ranking is not one of all these passages.
    """
    n = len(query.passages)
    if sorted(ranking.order) != list(range(n)):
        raise InputError(
            f"the ranking of the query {query.query_id!r} is not one of its {n} passages",
            hint="Rank without top_k.",
        )
    scored = ranking.score_kind != "rank"
    by_position = dict(zip(ranking.order, ranking.scores, strict=True))
    scores = tuple(by_position[i] for i in range(n))  # of a bare order: reciprocal ranks
    return TrainingList(
        query.text,
        query.passages,
        tuple(-float(rank) for rank in ranks_of(scores)),
        query_id=query.query_id,
        ids=query.ids or (),
        teacher=scores if scored else (),
    )


def teacher_scores(
    requests: Iterable[Query],
    reranker: Reranker,
    *,
    batch_size: int = 16,
    on_skip: OnSkip | None = None,
) -> dict[str, dict[str, float]]:
    """Score documents with a reranker, by query and document, for `taught_lists`, `mined_lists`.

    Args:
        requests: As for `labelled_lists`; the passages have ids.
        reranker: The teacher, which must score.
        batch_size: Queries that are ranked together.
        on_skip: As for `labelled_lists`.

    Raises:
        InputError: ``batch_size`` is below 1, passages have no ids, the reranker gives an order
            and no scores, or a query has no scores and there is no ``on_skip``.
        CallError: A call failed, and there is no ``on_skip``.
    """
    found: dict[str, dict[str, float]] = {}
    for query, ranking in _asked(requests, reranker, batch_size, on_skip):
        if query.ids is None:
            raise InputError(f"the passages of the query {query.query_id!r} have no ids")
        if ranking.score_kind == "rank":
            raise InputError(
                "the teacher gives an order and no scores",
                hint="Ask one that scores, such as PairScore or Pointwise.",
            )
        ids = [query.ids[i] for i in ranking.order]
        found[query.query_id] = dict(zip(ids, ranking.scores, strict=True))
    return found


def full_order(inner: Strategy, *, n: int = 100, size: int = 20, stride: int = 10) -> SlidingWindow:
    """A strategy that sorts a list of ``n`` passages by windows: the full-ranking paper's labels.

    Each pass of the windows settles the next ``size - stride`` ranks: pass k those from 10 (k - 1)
    + 1 to 10 k. Nine passes, and 45 windows, put 100 passages in order, where a single pass gets
    only the first ten right. There are as many passes as ``n`` needs.

    Args:
        inner: The strategy that orders one window.
        n: Passages of the longest list.
        size: Passages in a window.
        stride: Passages by which the window moves.

    Raises:
        InputError: ``n`` is below 1, or the window is out of range.

    References:
        Liu et al., Sliding Windows Are Not the End: Exploring Full Ranking with Long-Context Large
        Language Models, arXiv:2412.14574, 2024, section on label construction.

    Examples:
        >>> from rerank_plugins.strategies import Permutation
        >>> teacher = full_order(Permutation())
        >>> teacher.passes, teacher.cost(100).calls
        (9, 45)
    """
    at_least(1, n=n)
    one_pass = SlidingWindow(inner, size=size, stride=stride)
    passes = 1 + max(0, -(-(n - size) // (size - stride)))
    return SlidingWindow(one_pass.inner, size=size, stride=stride, passes=passes)


def _asked(
    requests: Iterable[Query], reranker: Reranker, batch_size: int, on_skip: OnSkip | None
) -> Iterator[tuple[Query, Ranking]]:
    """The rankings that can be labels; one that kept a part of the order is skipped."""
    at_least(1, batch_size=batch_size)
    rows = iter(requests)
    while batch := list(islice(rows, batch_size)):
        results = reranker.settle_many([(query.text, query.passages) for query in batch])
        for query, result in zip(batch, results, strict=True):
            name = f"the query {query.query_id!r}"
            if isinstance(result, CallError):
                if on_skip is None:
                    raise result
                skip(f"{name}: {result}", on_skip)
            elif not query.passages:
                skip(f"{name}: there are no passages", on_skip)
            elif result.report.fallback:
                reasons = result.report.fallbacks or ("its answer cannot be read",)
                kept = "the teacher kept a part of the order"
                skip(f"{name}: {kept}: {'; '.join(reasons)}", on_skip)
            else:
                yield query, result
