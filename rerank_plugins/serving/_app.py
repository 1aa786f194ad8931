"""The application: its routes, the middleware around them, and the responses to errors."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from .._checks import nearest_of
from ..errors import InputError, RerankError
from ..reranker import Reranker
from ._guards import RERANK_PATHS, bearer, bounded, keyed, measured, request_id_of
from ._pages import pages_router
from ._problems import Refusal, error_response, faults, problem
from ._responses import response
from ._schemas import (
    Asked,
    Model,
    Models,
    NamedModel,
    Problem,
    RerankRequest,
    RerankResponse,
    Status,
    request_model,
)
from ._service import Gate, Metrics, Service, ServiceSettings, while_connected

REFUSALS = {
    400: "The body is not JSON.",
    404: "There is no model of that name.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    422: "The body is JSON, but not a valid request; or a text is too long for the model.",
    429: "Too many requests are under way.",
    500: "The service is not configured correctly.",
    502: "The model failed.",
    503: "The model's server failed, for the time being.",
    504: "The ranking took too long, or more than its limits allow.",
}
NO_KEY = {401: "The key is missing or wrong."}


def create_app(
    reranker: Reranker,
    *,
    api_key: str | None = None,
    settings: ServiceSettings | None = None,
) -> FastAPI:
    """An ASGI application that ranks: Jina's and Cohere's interface over a reranker.

    ``POST /v1/rerank``, ``/v2/rerank`` and ``/rerank`` rank. ``GET /`` is a page to try it on, and
    ``/docs`` describes its interface; both load nothing from elsewhere. ``GET /health`` says that
    the process lives, ``/ready`` that the model is loaded, ``/v1/models`` lists its names,
    ``/metrics`` counts for Prometheus, and ``/openapi.json`` describes all of this in detail. The
    model is loaded when the application starts and closed when it ends.

    Args:
        reranker: The reranker. With ``on_error="keep_order"`` a failing model costs the order and
            not the answer, whose ``fallback`` and ``meta.warnings`` then say so. Passages that no
            model read have the scores null.
        api_key: If not None, every request but ``/health``, ``/ready`` and the pages needs the
            header ``Authorization: Bearer <api_key>``. Prometheus can send one (``authorization``).
        settings: The limits; `ServiceSettings` with its defaults when None.

    Raises:
        InputError: An argument is of the wrong type, or the key is blank.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.serving import ServiceSettings, create_app
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> settings = ServiceSettings(model="mine")
        >>> app = create_app(Reranker(PairScore(), Oracle()), settings=settings)
        >>> sorted(app.openapi()["paths"])[-2:]
        ['/v1/rerank', '/v2/rerank']
    """
    if not isinstance(reranker, Reranker):
        raise InputError(f"reranker is of type {type(reranker).__name__}, expected a Reranker")
    chosen = settings or ServiceSettings()
    gate = Gate(chosen)
    app = FastAPI(
        title="Rerank Plugins",
        version=version("rerank-plugins"),
        lifespan=_lifespan,
        exception_handlers=HANDLERS,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service = Service(reranker, chosen, gate, Metrics(gate))
    app.include_router(probes)
    if chosen.page:
        app.include_router(pages_router())
    locked = [] if api_key is None else [Security(HTTPBearer(auto_error=False))]  # for OpenAPI
    responses = {} if api_key is None else _described(NO_KEY)
    for router in (_rerank_router(chosen), about):
        app.include_router(router, dependencies=locked, responses=responses)
    app.add_middleware(bounded, gate=gate, settings=chosen)  # the last one added is the outermost
    if api_key is not None:
        app.add_middleware(keyed, allowed=bearer(api_key))
    app.add_middleware(measured, metrics=service.metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    warming = asyncio.create_task(service.warm_up())  # the probes answer meanwhile
    try:
        yield
    finally:
        service.state = "ending"
        warming.cancel()
        await asyncio.gather(warming, return_exceptions=True)
        await service.reranker.aclose()


def _described(statuses: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": text, "model": Problem} for status, text in statuses.items()}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def rerank(question: RerankRequest, request: Request) -> RerankResponse:
    """Answer a request with the ranking of its documents."""
    service = _service(request)
    settings = service.settings
    if settings.strict and question.model not in (None, *settings.names):
        hint = nearest_of(question.model, settings.names, "It answers to")
        raise Refusal(404, f"this service has no model of that name. {hint}")
    if "instruct" in question.ignored:  # it stands beside instruction
        raise Refusal(422, "instruction and instruct are one field: give one of them")
    asked: list[Asked] | None = [] if question.explain and settings.page else None
    ranking = await while_connected(service.rank(question, asked), request.receive)
    return response(
        ranking,
        question,
        request_id=request_id_of(request.scope),
        settings=settings,
        asked=asked,
        version="2" if request.url.path.endswith("/v2/rerank") else "1",
    )


def _rerank_router(settings: ServiceSettings) -> APIRouter:
    """The routes of `rerank`, whose request has the limits of this service in its type."""

    async def limited(question: RerankRequest, request: Request) -> RerankResponse:
        return await rerank(question, request)

    limited.__annotations__["question"] = request_model(
        settings.max_documents, settings.max_query_chars, settings.max_document_chars
    )
    router = APIRouter(tags=["rerank"])
    for path in RERANK_PATHS:
        router.add_api_route(
            path,
            limited,
            methods=["POST"],
            response_model_exclude_unset=True,  # what is None on purpose stays
            responses=_described(REFUSALS),
            operation_id="rerank" + path.replace("/", "_"),
            summary="Order documents by relevance to a query",
        )
    return router


probes = APIRouter(tags=["probes"])
"""The routes that an orchestrator asks, without a key."""


@probes.get("/health", responses={503: {"model": Status, "description": "Restart it."}})
async def health(request: Request, response: Response) -> Status:
    """Report whether the process is alive; it is not if its model could not be loaded."""
    failed = _service(request).state == "failed"
    response.status_code = 503 if failed else 200
    return Status(status="failed" if failed else "alive")


@probes.get("/ready", responses={503: {"model": Status, "description": "Send no requests yet."}})
async def ready(request: Request, response: Response) -> Status:
    """Report whether the model is loaded."""
    state = _service(request).state
    response.status_code = 200 if state == "ready" else 503
    return Status(status=state)


about = APIRouter(tags=["about"])
"""The routes with information about the service."""


@about.get("/v1/models")
async def models(request: Request) -> Models:
    """List the names that requests may use."""
    names = _service(request).settings.names
    return Models(data=[Model(id=n) for n in names], models=[NamedModel(name=n) for n in names])


_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


# The response class has no media type, so a refusal of this route is JSON like any other.
@about.get("/metrics", response_class=Response, responses={200: _TEXT})
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus: requests, documents, tokens and more."""
    counted = generate_latest(_service(request).metrics.registry)
    return Response(counted, media_type=CONTENT_TYPE_LATEST)


async def answer_rerank_error(request: Request, error: RerankError) -> JSONResponse:
    """Answer an error of this library."""
    wait = _service(request).settings.retry_after_s
    return error_response(error, request_id=request_id_of(request.scope), retry_after_s=wait)


async def answer_refusal(request: Request, refusal: Refusal) -> JSONResponse:
    """Answer a refused request."""
    return refusal.response(request_id_of(request.scope))


async def answer_http_error(request: Request, error: HTTPException) -> JSONResponse:
    """Answer an unknown path or method."""
    name = request_id_of(request.scope)
    return problem(error.status_code, error.detail, request_id=name, headers=error.headers)


async def answer_invalid_body(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer a body that is not JSON, or not a valid request."""
    text, found = faults(error.errors())
    status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
    name = request_id_of(request.scope)
    return problem(status, text, request_id=name, kind="InputError", errors=found)


HANDLERS: dict[Any, Any] = {
    RerankError: answer_rerank_error,
    Refusal: answer_refusal,
    HTTPException: answer_http_error,
    RequestValidationError: answer_invalid_body,
}
"""The function that answers each class of errors; all answers have the same shape."""
