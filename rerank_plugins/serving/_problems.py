"""Errors as responses: a status and one JSON shape, without internals of the server."""

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from ..errors import (
    BudgetError,
    CallError,
    InputError,
    ModelOutputError,
    PromptTooLongError,
    RerankError,
)
from ._schemas import Fault, Problem

logger = logging.getLogger("rerank_plugins.serving")

MAX_FAULTS = 8
"""The largest number of a body's faults that are listed."""

_PUBLIC = (InputError, PromptTooLongError, ModelOutputError, BudgetError)
"""Errors whose text is about the request. That of others may have addresses and paths."""

_INTERNAL = "the service cannot rank: its log has the reason under this id"
_BACKEND = "the model's server failed"


class Refusal(Exception):  # noqa: N818 - becomes a response
    """A request that is refused: it is wrong, or the service is busy.

    Args:
        status: The HTTP status.
        detail: The reason, in one sentence.
        retry_after_s: Seconds after which the same request may succeed; None if it cannot.
        headers: Headers of the response.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.retry_after_s, self.headers = status, retry_after_s, headers

    def response(self, request_id: str) -> JSONResponse:
        """The response to the request."""
        return problem(
            self.status,
            str(self),
            request_id=request_id,
            retry_after_s=self.retry_after_s,
            headers=self.headers,
        )


def problem(
    status: int,
    detail: str,
    *,
    request_id: str,
    kind: str = "",
    retry_after_s: float | None = None,
    errors: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response to a request that failed.

    Args:
        status: The HTTP status.
        detail: The error, in one sentence.
        request_id: The request's id in the log.
        kind: The name of the error; the status's when empty.
        retry_after_s: Seconds after which the same request may succeed; None if it cannot.
        errors: The faults of the body, one by one.
        headers: Further headers.
    """
    body = Problem(
        id=request_id,
        detail=detail,
        message=detail,
        type=kind or HTTPStatus(status).phrase.replace(" ", "").replace("-", ""),
        retryable=retry_after_s is not None,
        errors=list(errors) or None,
    )
    waits = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
    return JSONResponse(
        body.model_dump(exclude_none=True), status, headers={**(headers or {}), **waits}
    )


def error_response(error: RerankError, *, request_id: str, retry_after_s: float) -> JSONResponse:
    """The response to an error of the library. Text that a client must not see is logged."""
    status = status_of(error)
    if not isinstance(error, _PUBLIC):
        logger.error("request %s: %s: %s", request_id, type(error).__name__, error)
    wait = getattr(error, "retry_after_s", None) or retry_after_s
    return problem(
        status,
        public_text(error),
        request_id=request_id,
        kind=type(error).__name__,
        retry_after_s=wait if error.retryable else None,
    )


def status_of(error: RerankError) -> int:
    """The HTTP status of an error: 4xx for the request's fault, 5xx for the server's.

    Examples:
        >>> from rerank_plugins.errors import BackendError
        >>> status_of(InputError("top_k is 0")), status_of(BackendError("down", retryable=True))
        (422, 503)
    """
    match error:
        case InputError() | PromptTooLongError():
            return 422
        case BudgetError():
            return 504
        case CallError():
            return 503 if error.retryable else 502
        case _:
            return 500


def public_text(error: RerankError) -> str:
    """The text of an error that a client may see."""
    if isinstance(error, _PUBLIC):
        return str(error)
    return _BACKEND if isinstance(error, CallError) else _INTERNAL


def public_cause(fallback: str) -> str:
    """The part of a line of `Report.fallbacks` that a client may see.

    Examples:
        >>> public_cause("BackendError: http://10.0.0.7 refused"), public_cause("BudgetError: late")
        ('BackendError', 'BudgetError: late')
    """
    name, colon, _ = fallback.partition(": ")
    public = {cls.__name__ for cls in _PUBLIC}
    return fallback if name in public or not colon else name


def faults(errors: Sequence[Mapping[str, Any]]) -> tuple[str, list[Fault]]:
    """Pydantic's errors as a sentence and a short list, without text of the body."""
    if len(errors[0]["loc"]) == 1 or errors[0]["type"] == "json_invalid":
        text = "the body is not a JSON object (with Content-Type: application/json)"
        return text, [Fault(at="body", message=errors[0]["msg"][:200])]
    found = [
        Fault(at=".".join(map(str, e["loc"][1:]))[:100], message=e["msg"][:200])
        for e in errors[:MAX_FAULTS]
    ]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{found[0].at}: {found[0].message}{more}", found
