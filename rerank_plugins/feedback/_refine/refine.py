"""`refine_query`: the reranker's opinion, distilled into the retriever's query vector."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ...errors import InputError, UnknownNameError
from .methods import METHODS, Method, Moved, Refit, lengths
from .objectives import FloatArray, dots
from .opinion import Feedback, read_feedback

NEEDS_SCORES = "this method needs scores, and the reranker gave an order"

_CHUNK = 2**18
"""Numbers that one step works on: about what a core's own cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """A refined query vector and how it came about.

    For a batch, every attribute has one value a query: arrays of shape ``(batch,)``, a tuple for
    ``skipped``, and ``vector`` of shape ``(batch, dim)``.

    Attributes:
        vector: The new query vector, shape ``(dim,)``, in the precision of the old one for
            ``"safe"`` and ``"bold"``. Equal to the old one where ``skipped`` is not empty.
        angle: Between the old vector and the new one, in degrees.
        displacement: Length of their difference, relative to the length of the old one.
        loss_before: The method's loss at the old vector: 1 minus the correlation with the target
            (0 to 2) for ``"safe"`` and ``"bold"``, nats of KL divergence for ``"refit"``, weighted
            RankNet for ``"first"``. 0 where skipped for what was given.
        loss_after: The same at the new vector.
        trust: How far the reranker was believed, from 0 to 1.
        skipped: Why the query was left as it was; empty where it was refined.
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
            be strong. ``"refit"`` and ``"first"``: the published recipes. Or a `Turn`, `Refit` or
            `First` with other constants, a mapping such as ``{"name": "safe", "degrees": 30}``, or
            a method of your own.

    Returns:
        The refined vector with diagnostics. Where nothing can be learned (fewer than two scores,
        equal scores, an infinite one, equal vectors, a query of zeros) it is the old one, and
        ``skipped`` says why.

    Raises:
        InputError: Shapes disagree, or the query is not finite.
        UnknownNameError: There is no such method.

    References:
        Reddy et al., ReFIT, arXiv:2305.11744; Reddy et al., FIRST, arXiv:2406.15657, section 4.4.

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
    return _first(refined) if single else refined


def find_method(method: str | Mapping[str, Any] | Method) -> Method:
    """The method that goes by a name, or the one that was given.

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
        known = [f.name for f in fields(found)]  # type: ignore[arg-type]  # all of ours are
        if unknown := sorted(set(changes) - set(known)):
            raise InputError(f"the method has no {unknown}", hint=f"It has {known}.")
        try:
            return replace(found, **changes)  # type: ignore[type-var]
        except TypeError as error:
            raise InputError(f"a constant of the method is of a wrong type: {error}") from error
    if isinstance(method, str):
        if method not in METHODS:
            raise UnknownNameError(
                f"there is no feedback method {method!r}", hint=f"Known: {', '.join(METHODS)}."
            )
        return METHODS[method]
    if isinstance(method, type) or not hasattr(method, "move"):
        raise InputError(f"{method!r} is not a feedback method", hint="It needs move(feedback).")
    return method


def needs_scores(method: str | Mapping[str, Any] | Method) -> bool:
    """Whether an order alone is not enough for a method."""
    return isinstance(find_method(method), Refit)


def keep_length(vector: FloatArray, original: FloatArray) -> FloatArray:
    """A vector with the length of another one, on which a ranking by distance depends.

    Examples:
        >>> keep_length(np.array([3.0, 4.0]), np.array([0.0, 10.0])).tolist()
        [6.0, 8.0]
    """
    length = np.linalg.norm(vector)
    return vector * (np.linalg.norm(original) / length) if length > 0 else vector


def _moved(feedback: Feedback, method: Method) -> Moved:
    parts = [method.move(part) for part in _chunks(feedback)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nothing = np.zeros(0)
        return Moved(feedback.queries, nothing, nothing, nothing, ())
    return Moved(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.before for part in parts]),
        np.concatenate([part.after for part in parts]),
        np.concatenate([part.trust for part in parts]),
        tuple(reason for part in parts for reason in part.skipped),
    )


def _chunks(feedback: Feedback) -> Iterator[Feedback]:
    size = max(1, _CHUNK // max(1, feedback.passages[0].size)) if len(feedback) else 1
    if size >= len(feedback) > 0:
        yield feedback
        return
    for start in range(0, len(feedback), size):
        yield feedback[start : start + size]


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


def _first(batch: Refinement) -> Refinement:
    return Refinement(
        vector=batch.vector[0],
        angle=float(batch.angle[0]),
        displacement=float(batch.displacement[0]),
        loss_before=float(batch.loss_before[0]),
        loss_after=float(batch.loss_after[0]),
        trust=float(batch.trust[0]),
        skipped=batch.skipped[0],
    )
