"""An application on uvicorn, until a signal ends the process."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from ..errors import ConfigurationError, InputError, RerankError
from ._connections import limited_connections, open_files
from ._service import Service, ServiceSettings


def serve(app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Run an application of `create_app` with uvicorn, in this thread.

    On SIGTERM or SIGINT it refuses new connections, answers the requests under way within
    `ServiceSettings.grace_s` seconds, closes the model and returns.

    Args:
        app: The application.
        host: The address to listen on; ``"0.0.0.0"`` for every network.
        port: The port; 0 for any free one, which is logged.

    Raises:
        InputError: ``app`` was not made by `create_app`.
        RerankError: The model cannot be loaded.
    """
    service = getattr(app.state, "service", None)
    if not isinstance(service, Service):
        raise InputError("app was not made by create_app", hint="Pass the result of create_app.")
    server = uvicorn.Server(configured(app, service.settings, host=host, port=port))

    def end() -> None:
        server.should_exit = True

    service.when_failed = end
    with _late_signals_ignored():
        server.run()
    if isinstance(error := service.failure, RerankError):
        raise error
    if error:
        text = f"the model cannot be loaded: {type(error).__name__}: {error}"
        raise ConfigurationError(text) from error


def configured(app: FastAPI, settings: ServiceSettings, *, host: str, port: int) -> uvicorn.Config:
    """The options of uvicorn for an application with these limits.

    Connections are at most three quarters of the files that this process may open, so that the
    model, its server and the log can be reached whatever clients do.
    """
    most = max(1, int(min(settings.max_connections, open_files() * 3 // 4)))
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=limited_connections(settings.read_timeout_s, most),
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.grace_s),
    )


@contextmanager
def _late_signals_ignored() -> Iterator[None]:
    """Ignore the signal that uvicorn, after it has ended, sends again to its own process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread
        return
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
