"""From a ranking to the body of a response."""

import math
from collections.abc import Sequence
from dataclasses import replace

from ..ranking import Ranking, ScoreKind
from ._problems import public_cause
from ._schemas import (
    ApiVersion,
    Asked,
    BilledUnits,
    Meta,
    RerankRequest,
    RerankResponse,
    Result,
    ReturnedDocument,
    Tokens,
    TokenUsage,
)
from ._service import ServiceSettings

SEARCH_UNIT = 100
"""Documents of one of Cohere's search units."""
MAX_WARNINGS = 8
"""The largest number of warnings of each kind in a response."""


def response(
    ranking: Ranking,
    request: RerankRequest,
    *,
    request_id: str,
    settings: ServiceSettings,
    version: str,
    asked: Sequence[Asked] | None = None,
) -> RerankResponse:
    """The response to a request.

    Args:
        ranking: The ranking of the request's documents.
        request: The request.
        request_id: Its id in the log.
        settings: The service's; the answer has its model's name, whatever name the request used.
        version: The version of Cohere's interface.
        asked: The calls to the model, if the request wants to see them.
    """
    usage, fallbacks = ranking.usage, tuple(map(public_cause, ranking.report.fallbacks))
    kept = [f"part of the order is the request's: {cause}" for cause in dict.fromkeys(fallbacks)]
    ignored = [f"{name[:50]!a} is not supported and was ignored" for name in request.ignored]
    if request.explain and asked is None:
        ignored.append("explain is switched off in this service and was ignored")
    ignored += [
        f"{name} was ignored, because these scores do not say what is relevant"
        for name in request.cut.ignored_by(ranking)
    ]
    if request.model not in (None, *settings.names):
        ignored.insert(0, f"there is one model here, {settings.model}, and it answered")
    warnings = [*kept[:MAX_WARNINGS], *ignored[:MAX_WARNINGS]]
    return RerankResponse(
        id=request_id,
        model=settings.model,
        results=_results(ranking, request),
        score_kind=ranking.score_kind,
        fallback=ranking.report.fallback,
        usage=TokenUsage(
            total_tokens=usage.prompt_tokens + usage.generated_tokens,
            prompt_tokens=usage.prompt_tokens,
            generated_tokens=usage.generated_tokens,
            calls=usage.calls,
            seconds=usage.seconds,
            loading_seconds=usage.loading_seconds,
        ),
        report=replace(ranking.report, fallbacks=fallbacks),
        meta=Meta(
            api_version=ApiVersion(version=version),
            billed_units=BilledUnits(search_units=-(-len(request.documents) // SEARCH_UNIT)),
            tokens=Tokens(input_tokens=usage.prompt_tokens, output_tokens=usage.generated_tokens),
            **({"warnings": warnings} if warnings else {}),
        ),
        **({} if asked is None else {"asked": list(asked)}),
    )


def _results(ranking: Ranking, request: RerankRequest) -> list[Result]:
    kind, unread = ranking.score_kind, unread_positions(ranking)
    results = []
    for line in ranking.ranked(request.documents):
        read = line.position not in unread
        result = Result(
            index=line.position,
            relevance_score=relevance(line.score, kind) if read else None,
            score=line.score if read else None,
        )
        if request.return_documents:
            result.document = ReturnedDocument.of(line.passage)
        results.append(result)
    return results


def unread_positions(ranking: Ranking) -> frozenset[int]:
    """The positions whose scores say nothing, because a model may not have read the passage.

    These are the passages that an answer left out. Where the scores only number the places
    (``score_kind="rank"``), they are also those that a failed call was about; and all passages if
    nothing was asked, or if an answer could not be read or the report does not say what a failure
    concerned, because a place that the request gave cannot be told from one that the model gave.

    Examples:
        >>> from rerank_plugins.ranking import Report
        >>> sorted(unread_positions(Ranking((0, 1), report=Report(fallbacks=("BackendError",)))))
        [0, 1]
    """
    report = ranking.report
    if ranking.score_kind != "rank":
        return report.missing
    unknown = report.malformed or (report.fallbacks and not report.unread)
    if unknown or not ranking.usage.calls:
        return frozenset(ranking.order)
    return report.missing | report.unread


def relevance(score: float, kind: ScoreKind) -> float:
    """A score as a number from 0 to 1 that never falls when the score rises.

    It depends on the score alone, so numbers of different requests compare as far as the scores
    themselves do:

    ============  ======================================================================
    logit         the logistic function, as for cross-encoders
    logprob       the probability; for query likelihoods, that of a token on average
    probability   unchanged
    similarity    the logistic function: only the order counts
    z-score       the logistic function: comparable within a request only
    grade         ``g / (1 + g)``: prompts have different scales, so only the order counts
    rank          unchanged: 1, 1/2, 1/3, ... the order and nothing more
    ============  ======================================================================

    Different scores may become equal at the ends of the range, where floats end.

    Examples:
        >>> relevance(0.0, "logit"), relevance(0.0, "logprob"), relevance(3.0, "grade")
        (0.5, 1.0, 0.75)
    """
    if kind in ("logit", "similarity", "z-score"):
        small = math.exp(-abs(score))  # never overflows
        return 1.0 / (1.0 + small) if score >= 0 else small / (1.0 + small)
    if kind == "logprob":
        return math.exp(min(score, 0.0))
    if kind == "grade":
        return max(score, 0.0) / (1.0 + max(score, 0.0))
    return min(max(score, 0.0), 1.0)
