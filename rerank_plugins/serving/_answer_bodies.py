"""From a ranking to what goes over the wire."""

from dataclasses import replace

from ..ranking import Ranking, Usage
from ._problems import public_cause
from ._schemas import (
    SEARCH_UNIT,
    ApiVersion,
    BilledUnits,
    Meta,
    RerankRequest,
    RerankResponse,
    Result,
    ReturnedDocument,
    Tokens,
    TokenUsage,
)
from ._scores import relevance

MAX_WARNINGS = 8
"""How many warnings an answer has at most of each kind."""


def answer(
    ranking: Ranking, request: RerankRequest, *, request_id: str, model: str, version: str
) -> RerankResponse:
    """The answer to a request.

    Args:
        ranking: Of the request's documents.
        request: What was asked.
        request_id: By which the log knows the request.
        model: What the model is called, whatever name the request used.
        version: Of Cohere's interface.
    """
    causes = tuple(dict.fromkeys(map(public_cause, ranking.report.fallbacks)))
    return RerankResponse(
        id=request_id,
        model=model,
        results=_results(ranking, request),
        score_kind=ranking.score_kind,
        fallback=ranking.report.fallback,
        usage=_usage(ranking.usage),
        report=replace(
            ranking.report, fallbacks=tuple(map(public_cause, ranking.report.fallbacks))
        ),
        meta=Meta(
            api_version=ApiVersion(version=version),
            billed_units=BilledUnits(search_units=-(-len(request.documents) // SEARCH_UNIT)),
            tokens=Tokens(
                input_tokens=ranking.usage.prompt_tokens,
                output_tokens=ranking.usage.generated_tokens,
            ),
            warnings=_warnings(request, causes) or None,
        ),
    )


def _results(ranking: Ranking, request: RerankRequest) -> list[Result]:
    return [
        Result(
            index=line.position,
            relevance_score=relevance(line.score, ranking.score_kind),
            score=line.score,
            document=_returned(line.passage) if request.return_documents else None,
        )
        for line in ranking.ranked(request.documents)
    ]


def _returned(document: object) -> ReturnedDocument:
    if isinstance(document, str):
        return ReturnedDocument(text=document)
    return ReturnedDocument.model_validate(document, from_attributes=True)


def _usage(usage: Usage) -> TokenUsage:
    return TokenUsage(
        total_tokens=usage.prompt_tokens + usage.generated_tokens,
        prompt_tokens=usage.prompt_tokens,
        generated_tokens=usage.generated_tokens,
        calls=usage.calls,
        seconds=usage.seconds,
    )


def _warnings(request: RerankRequest, causes: tuple[str, ...]) -> list[str]:
    ignored = [f"{name[:50]!a} is not supported and was ignored" for name in request.ignored]
    kept = [f"part of the order is the request's: {cause}" for cause in causes]
    return kept[:MAX_WARNINGS] + ignored[:MAX_WARNINGS]
