"""How good the model is at the moment: it ranks lists the way it will when it serves."""

from collections.abc import Sequence

from ..evaluation import evaluate
from ..handlers import AnyBackend
from ..ranking import Strategy
from ..reranker import Reranker
from .data import TrainingList

MEASURE = "nDCG@10"


def ndcg(strategy: Strategy, backend: AnyBackend, rows: Sequence[TrainingList]) -> float:
    """Mean nDCG@10 of the lists in the reranker's order, with their labels as grades.

    Labels are taken as grades where they are whole numbers of at least 0; other labels (a teacher's
    scores, minus the ranks) count by their order, the highest as relevant.

    Raises:
        CallError: The model failed.
    """
    reranker = Reranker(strategy, backend)
    rankings = reranker.rank_many([(row.query, row.passages) for row in rows])
    run, qrels = {}, {}
    for i, (row, ranking) in enumerate(zip(rows, rankings, strict=True)):
        run[str(i)] = [str(position) for position in ranking.order]
        qrels[str(i)] = {str(p): grade for p, grade in enumerate(grades(row.labels))}
    return float(evaluate(run, qrels, [MEASURE])[MEASURE])


def grades(labels: Sequence[float]) -> list[int]:
    """Labels as the whole numbers that nDCG takes.

    Examples:
        >>> grades((0, 2, 1)), grades((-3.0, -1.0, -2.0))
        ([0, 2, 1], [0, 1, 0])
    """
    if all(label >= 0 and label == int(label) for label in labels):
        return [int(label) for label in labels]
    best = max(labels)
    return [int(label == best) for label in labels]
