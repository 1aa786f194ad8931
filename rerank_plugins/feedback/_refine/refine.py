"""`refine_query`: move a query vector towards a reranker's opinion."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..._checks import known_keys, nearest_of
from ...errors import InputError, UnknownNameError
from .._e2rank import E2Rank
from .opinion import Feedback, FloatArray, dots, read_feedback
from .published import First, Refit
from .qdrant import QdrantNaive, Sefr
from .turn import Method, Moved, Turn, lengths

METHODS: dict[str, Method] = {
    "safe": Turn(),
    "bold": Turn(degrees=45, smoothing=3, doubt=None),
    "refit": Refit(),
    "first": First(),
    "e2rank": E2Rank(),
    "qdrant-naive": QdrantNaive(),
    "sefr": Sefr(),
}
"""The methods by name."""

NEEDS_SCORES = "this method needs scores, and the reranker gave an order"

_CHUNK = 2**18
"""Numbers in one step's arrays: about as many as fit into a core's own cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """A refined query vector, and how it came about.

    For a batch, every attribute has one value per query: arrays of shape ``(batch,)``, a tuple for
    ``skipped``, and ``vector`` of shape ``(batch, dim)``.

    Attributes:
        vector: The new query vector, shape ``(dim,)``, in the precision of the old one for
            ``"safe"`` and ``"bold"``. Equal to the old one where ``skipped`` is not empty.
        angle: Between the old vector and the new one, in degrees.
        displacement: Length of their difference, relative to the length of the old one.
        loss_before: The method's loss at the old vector: 1 minus the correlation with the target
            (0 to 2) for ``"safe"`` and ``"bold"``, with the reranker's scores for Qdrant's, nats of
            KL divergence for ``"refit"``, weighted RankNet for ``"first"``. 0 where skipped for
            what was given.
        loss_after: The method's loss at the new vector.
        trust: How far the reranker was trusted, from 0 to 1.
        skipped: Why the query was not changed; empty if it was refined.
    """

    vector: FloatArray
    angle: Any
    displacement: Any
    loss_before: Any
    loss_after: Any
    trust: Any
    skipped: Any


def refine_query(
    query: Any,
    passages: Any,
    scores: Any = None,
    *,
    order: Any = None,
    method: str | Mapping[str, Any] | Method = "safe",
) -> Refinement:
    """Move a query vector so that its own ranking of the passages comes closer to a reranker's.

    A second search with the new vector finds what the first one missed. One query, or a batch of
    them: then every argument has one dimension more. Batches of different lengths are padded with
    passages of NaN.

    Args:
        query: The query vector of the first search, shape ``(dim,)``.
        passages: Vectors of the passages that it found, shape ``(n, dim)``. A row that is not
            finite stands for a passage whose vector is not known, which is left out.
        scores: The reranker's scores of those passages, shape ``(n,)``: of any kind and scale,
            higher is better. NaN where a passage was not reranked: it counts as the lowest one.
        order: Positions in ``passages``, best first, of those that were reranked. Alone, where
            scores mean nothing; with ``scores`` in addition, see `First`.
        method: ``"safe"``: turns the query by up to 25 degrees, less where the reranker's scores
            look random. ``"bold"``: always turns it by 45 degrees; for a reranker that is known to
            be strong. ``"refit"`` and ``"first"``: the published recipes. ``"qdrant-naive"`` and
            ``"sefr"``: Qdrant's. Or a `Turn`, `Refit`, `First`, `QdrantNaive` or `Sefr` with other
            constants, a mapping such as ``{"name": "safe", "degrees": 30}``, or a method of your
            own.

    Returns:
        The refined vector with diagnostics. Where nothing can be learned (fewer than two scores,
        equal scores, an infinite one, equal vectors, a query of zeros) it is the old one, and
        ``skipped`` says why.

    Raises:
        InputError: Shapes disagree, or the query is not finite.
        UnknownNameError: There is no such method.

    References:
        Reddy et al., ReFIT, arXiv:2305.11744; Reddy et al., FIRST, arXiv:2406.15657, section 4.4;
        for Qdrant's see `QdrantNaive` and `Sefr`.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> query, passages = rng.normal(size=8), rng.normal(size=(40, 8))
        >>> hidden = query + rng.normal(size=8)  # what the user means
        >>> refined = refine_query(query, passages, passages @ hidden)
        >>> refined.skipped, round(refined.angle)
        ('', 25)
        >>> bool(refined.vector @ hidden > query @ hidden)
        True
    """
    single = np.ndim(query) == 1
    feedback = read_feedback(query, passages, scores, order)
    found = find_method(method)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # of queries that stay
        refined = _refinement(feedback, _moved(feedback, found))
    if not single:
        return refined
    numbers = ("angle", "displacement", "loss_before", "loss_after", "trust")
    first = {name: float(getattr(refined, name)[0]) for name in numbers}
    return Refinement(vector=refined.vector[0], skipped=refined.skipped[0], **first)


def find_method(method: str | Mapping[str, Any] | Method) -> Method:
    """Find the method of a name, or return the method that was given.

    Args:
        method: A name, a method, or a mapping of a ``name`` and constants to change.

    Raises:
        UnknownNameError: There is no such method.
        InputError: It is not a method, or has no such constant.

    Examples:
        >>> find_method({"name": "safe", "degrees": 30}).degrees
        30
    """
    if isinstance(method, Mapping):
        changes = {name: value for name, value in method.items() if name != "name"}
        found = find_method(str(method.get("name", "safe")))
        known_keys("the method", changes, [f.name for f in fields(found)])  # type: ignore[arg-type]  # all of ours are dataclasses
        try:
            return replace(found, **changes)  # type: ignore[type-var]
        except TypeError as error:
            raise InputError(f"a constant of the method has a wrong type: {error}") from error
    if isinstance(method, str):
        if method not in METHODS:
            raise UnknownNameError(
                f"there is no feedback method {method!r}", hint=nearest_of(method, METHODS)
            )
        return METHODS[method]
    if isinstance(method, type) or not hasattr(method, "move"):
        raise InputError(f"{method!r} is not a feedback method", hint="It needs move(feedback).")
    return method


def replaced(query: FloatArray, vector: FloatArray) -> Refinement:
    """The refinement that puts another vector, of any length, in the place of a query's."""
    new = keep_length(vector, query)
    length = float(np.linalg.norm(query)) or 1.0
    cosine = float(np.clip(query @ new / length**2, -1, 1))
    return Refinement(
        vector=new,
        angle=float(np.degrees(np.arccos(cosine))),
        displacement=float(np.linalg.norm(new - query)) / length,
        loss_before=0.0,
        loss_after=0.0,
        trust=1.0,
        skipped="",
    )


def needs_scores(method: str | Mapping[str, Any] | Method) -> bool:
    """True for a method that cannot use an order alone."""
    return isinstance(find_method(method), Refit | QdrantNaive | Sefr)


def keep_length(vector: FloatArray, original: FloatArray) -> FloatArray:
    """Scale a vector to the length of another: a ranking by distance depends on the length.

    Examples:
        >>> keep_length(np.array([3.0, 4.0]), np.array([0.0, 10.0])).tolist()
        [6.0, 8.0]
    """
    length = np.linalg.norm(vector)
    return vector * (np.linalg.norm(original) / length) if length > 0 else vector


def _moved(feedback: Feedback, method: Method) -> Moved:
    """Move the queries, some at a time."""
    n = len(feedback)
    size = max(1, _CHUNK // max(1, feedback.passages[0].size)) if n else 1
    if not n:
        nothing = np.zeros(0)
        return Moved(feedback.queries, nothing, nothing, nothing, ())
    if n <= size:
        return method.move(feedback)
    parts = [method.move(feedback[start : start + size]) for start in range(0, n, size)]
    vectors, before, after, trust, skipped = zip(*parts, strict=True)
    return Moved(
        np.concatenate(vectors),
        np.concatenate(before),
        np.concatenate(after),
        np.concatenate(trust),
        tuple(reason for reasons in skipped for reason in reasons),
    )


def _refinement(feedback: Feedback, moved: Moved) -> Refinement:
    old, new = feedback.queries, moved.vectors
    reasons = moved.skipped
    if any(feedback.skipped):
        reasons = tuple(a or b for a, b in zip(feedback.skipped, reasons, strict=True))
    stays = np.array([bool(reason) for reason in reasons], dtype=bool)
    if stays.any():
        new = np.where(stays[:, None], old, new)
    before, after = lengths(old), lengths(new)
    longest = np.where(before * after > 0, before * after, 1)
    cosine = np.minimum(np.maximum(dots(old, new)[:, 0] / longest, -1), 1)
    untold = np.array([bool(reason) for reason in feedback.skipped], dtype=bool)
    return Refinement(
        vector=new,
        angle=np.where(stays, 0.0, np.degrees(np.arccos(cosine))),
        displacement=lengths(new - old) / np.where(before > 0, before, 1),
        loss_before=np.where(untold, 0.0, moved.before),
        loss_after=np.where(untold, 0.0, np.where(stays, moved.before, moved.after)),
        trust=np.where(stays, 0.0, moved.trust),
        skipped=reasons,
    )
