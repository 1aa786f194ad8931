"""The application: its routes, what stands before them, and what becomes of errors."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from ..errors import InputError, RerankError
from ..reranker import Reranker
from ._admission import Gate
from ._answer_bodies import answer
from ._guards import RERANK_PATHS, bounded, keyed, measured, request_id_of
from ._keys import bearer
from ._limits import ServiceSettings
from ._problems import Refusal, faults, of_error, problem
from ._prometheus import Metrics
from ._schemas import (
    Model,
    Models,
    NamedModel,
    Problem,
    RerankRequest,
    RerankResponse,
    Status,
    request_model,
)
from ._service import Service, while_connected

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not JSON."},
    404: {"description": "There is no model of that name."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body is too long."},
    422: {"description": "The body is JSON, and no request; or a text is too long for the model."},
    429: {"description": "Too many requests are under way."},
    500: {"description": "The service is not set up well."},
    502: {"description": "The model failed."},
    503: {"description": "The model's server failed, for the time being."},
    504: {"description": "The ranking took too long, or more than its limits allow."},
}
NO_KEY = {401: {"description": "The key is missing or wrong."}}


def create_app(
    reranker: Reranker,
    *,
    api_key: str | None = None,
    settings: ServiceSettings | None = None,
) -> FastAPI:
    """An ASGI application that ranks: Jina's and Cohere's interface over a reranker.

    ``POST /v1/rerank``, ``/v2/rerank`` and ``/rerank`` rank. ``GET /health`` says that the process
    lives, ``/ready`` that the model is loaded, ``/v1/models`` what it is called, ``/metrics`` what
    happened, for Prometheus, and ``/openapi.json`` all of this in detail. The model is loaded when
    the application starts and closed when it ends.

    Args:
        reranker: What ranks. With ``on_error="keep_order"`` a failing model costs the order and
            not the answer, whose ``fallback`` and ``meta.warnings`` then say so.
        api_key: Where not None, every request but ``/health`` and ``/ready`` needs the header
            ``Authorization: Bearer <api_key>``. Prometheus can send one (``authorization``).
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
    service = Service(reranker, chosen, gate, Metrics(gate))
    app = FastAPI(
        title="Rerank Plugins",
        version=version("rerank-plugins"),
        lifespan=_lifespan(service),
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(_probes(service))
    locked = [] if api_key is None else [Security(HTTPBearer(auto_error=False))]  # for OpenAPI
    responses = {} if api_key is None else _described(NO_KEY)
    app.include_router(_ranking(service), dependencies=locked, responses=responses)
    app.include_router(_telling(service), dependencies=locked, responses=responses)
    _answer_errors(app, service)
    app.add_middleware(bounded, gate=gate, settings=chosen)  # the last one added is the outermost
    if api_key is not None:
        app.add_middleware(keyed, allowed=bearer(api_key))
    app.add_middleware(measured, metrics=service.metrics)
    return app


def _described(statuses: dict[int | str, dict[str, Any]] | dict[int, Any]) -> dict[Any, Any]:
    return {status: {**about, "model": Problem} for status, about in statuses.items()}


def _lifespan(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(service.warm_up())  # the probes answer meanwhile
        try:
            yield
        finally:
            service.state = "ending"
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)
            await service.reranker.aclose()

    return lifespan


def _ranking(service: Service) -> APIRouter:
    """The routes that rank."""
    router, settings = APIRouter(tags=["rerank"]), service.settings

    async def rerank(question: RerankRequest, request: Request) -> RerankResponse:
        if question.model not in (None, *settings.names):
            names = ", ".join(settings.names)
            raise Refusal(404, f"there is no such model here, only: {names}")
        ranking = await while_connected(service.rank(question), request.receive)
        return answer(
            ranking,
            question,
            request_id=request_id_of(request.scope),
            model=settings.model,
            version="2" if request.url.path.endswith("/v2/rerank") else "1",
        )

    rerank.__annotations__["question"] = request_model(settings)  # with the limits of this service
    for path in RERANK_PATHS:
        router.add_api_route(
            path,
            rerank,
            methods=["POST"],
            response_model_exclude_none=True,
            responses=_described(REFUSALS),
            operation_id="rerank" + path.replace("/", "_"),
            summary="Order documents by relevance to a query",
        )
    return router


def _probes(service: Service) -> APIRouter:
    """What an orchestrator asks, without a key."""
    router = APIRouter(tags=["probes"])

    @router.get("/health", responses={503: {"model": Status, "description": "Restart it."}})
    async def health(response: Response) -> Status:
        """Whether the process lives. It does not when its model could not be loaded."""
        failed = service.state == "failed"
        response.status_code = 503 if failed else 200
        return Status(status="failed" if failed else "alive")

    @router.get("/ready", responses={503: {"model": Status, "description": "Send it nothing."}})
    async def ready(response: Response) -> Status:
        """Whether the model is loaded."""
        response.status_code = 200 if service.state == "ready" else 503
        return Status(status=service.state)

    return router


def _telling(service: Service) -> APIRouter:
    """What the service tells of itself."""
    router = APIRouter(tags=["about"])

    @router.get("/v1/models")
    async def models() -> Models:
        """The names that requests may use."""
        names = service.settings.names
        return Models(
            data=[Model(id=name) for name in names], models=[NamedModel(name=n) for n in names]
        )

    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    # A class without a media type: a refusal of this route is JSON like any other.
    @router.get("/metrics", response_class=Response, responses={200: text})
    async def metrics() -> Response:
        """For Prometheus."""
        counted = generate_latest(service.metrics.registry)
        return Response(counted, media_type=CONTENT_TYPE_LATEST)

    return router


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Every error in the same shape."""

    @app.exception_handler(RerankError)
    async def failed(request: Request, error: RerankError) -> JSONResponse:
        name, wait = request_id_of(request.scope), service.settings.retry_after_s
        return of_error(error, request_id=name, retry_after_s=wait)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return refusal.answer(request_id_of(request.scope))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        name = request_id_of(request.scope)
        return problem(error.status_code, error.detail, request_id=name, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        text, found = faults(error.errors())
        status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
        name = request_id_of(request.scope)
        return problem(status, text, request_id=name, kind="InputError", errors=found)
