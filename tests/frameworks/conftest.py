"""Backends that behave and that don't, shared by both frameworks' tests."""

import threading

import pytest
from openai_server import OpenAIServer

from rerank_plugins import BackendError
from rerank_plugins.testing import Failing, Oracle


class Stalls:
    """Answers only when the test is over."""

    def __init__(self):
        self.over = threading.Event()

    def run(self, calls):
        self.over.wait(60)
        return Oracle().run(calls)


class Crashes:
    """Raises what no backend should raise."""

    def run(self, calls):
        raise RuntimeError("CUDA out of memory")


class Counts(Oracle):
    """An oracle that counts how often it is warmed up and closed, and in which thread."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.warmed, self.closed, self.threads = 0, 0, set()

    def warm_up(self):
        self.warmed += 1
        self.threads.add(threading.current_thread())

    def close(self):
        self.closed += 1
        self.threads.add(threading.current_thread())


def longest(query, passage):
    """Relevance for tests whose passages are runs of one letter."""
    return float(len(passage))


@pytest.fixture
def oracle():
    return Oracle(key=longest)


@pytest.fixture
def counting():
    return Counts(key=longest)


@pytest.fixture
def stalling():
    backend = Stalls()
    yield backend
    backend.over.set()


@pytest.fixture
def crashing():
    return Crashes()


@pytest.fixture
def failing():
    return Failing(lambda: BackendError("the server is down"))


@pytest.fixture
def openai_server():
    """Starts servers of OpenAI's API: ``openai_server("down", cap=5)``."""
    running = []

    def start(*faults, **options):
        running.append(OpenAIServer(*faults, **options))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="session")
def llama_cpp_url(smollm2_gguf):
    """A real server of llama.cpp with SmolLM2."""
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(smollm2_gguf)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 4096, 1, False
    parameters.cpuparams.n_threads = 1  # several wait for one another at full speed
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(parameters)
    yield server.listening_address
    del server
