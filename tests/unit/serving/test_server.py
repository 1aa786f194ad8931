"""An application on uvicorn: what ends it."""

import signal

import pytest
from fastapi import FastAPI

from rerank_plugins import BackendError, ConfigurationError, InputError, Reranker
from rerank_plugins.serving import create_app, serve
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle


class Unloadable(Oracle):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def warm_up(self):
        raise self.error


def test_another_application_is_refused():
    with pytest.raises(InputError, match="app was not made by create_app"):
        serve(FastAPI())


def test_a_model_that_cannot_be_loaded_ends_it():
    error = BackendError("no such file")
    with pytest.raises(BackendError, match="no such file"):
        serve(create_app(Reranker(PairScore(), Unloadable(error))), port=0)


def test_a_foreign_error_gets_a_sentence_and_handlers_of_signals_come_back():
    before = signal.getsignal(signal.SIGTERM)
    app = create_app(Reranker(PairScore(), Unloadable(ZeroDivisionError("by zero"))))
    with pytest.raises(ConfigurationError, match="cannot be loaded: ZeroDivisionError: by zero"):
        serve(app, port=0)
    assert signal.getsignal(signal.SIGTERM) is before
