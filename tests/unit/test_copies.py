"""Objects that hold a lock and a loaded model are copied and pickled without them."""

import copy
import pickle
import threading
from dataclasses import dataclass

import pytest

from rerank_plugins import BackendError, Reranker
from rerank_plugins.backends import Balanced, OpenAIBackend
from rerank_plugins.backends._base import LocalModel
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.middleware import cached, guarded, recorded, retried

TWINS = pytest.mark.parametrize(
    "twin",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)


class Lengths:
    """A loaded model that cannot be pickled: a passage's score is its length."""

    def __init__(self, scale):
        self.lock = threading.Lock()
        self.table = {ScorePair: lambda calls: [Reply(scale * len(c.passage)) for c in calls]}


@dataclass(eq=False, repr=False, kw_only=True)
class Model(LocalModel[Lengths]):
    model: str
    token: str | None = None
    scale: float = 1.0
    _shown = ("scale",)

    def _load(self):
        return Lengths(self.scale)


@TWINS
@pytest.mark.parametrize("warm", [False, True])
def test_the_twin_of_a_model_is_unloaded_and_works(twin, warm):
    backend = Model(model="m", token="t", scale=2.0)
    if warm:
        backend.warm_up()
    again = twin(backend)
    assert again._loaded is None
    assert again._lock is not backend._lock
    assert (again.model, again.token, again.scale) == ("m", "t", 2.0)
    assert again.run([ScorePair("q", "abc")]) == [Reply(6.0)]
    assert (backend._loaded is not None) == warm


@TWINS
@pytest.mark.parametrize("warm", [False, True])
def test_the_twin_of_a_reranker_ranks(twin, warm):
    backend = guarded(Model(model="m"))
    reranker = Reranker("pair-score", backend, on_error="keep_order", limits={"max_calls": 9})
    if warm:
        reranker.warm_up()
    again = twin(reranker)
    assert again.limits == reranker.limits
    assert again.strategy == reranker.strategy
    assert again.rank("q", ["a", "abc", "ab"]).order == (1, 2, 0)


@TWINS
def test_a_deep_copy_has_its_own_backend(twin):
    reranker = Reranker("pair-score", guarded(Model(model="m")))
    shared = twin(reranker).backend.inner is reranker.backend.inner
    assert shared == (twin is copy.copy)


@TWINS
@pytest.mark.parametrize("layer", ["cached", "retried", "recorded", "guarded", "Balanced"])
def test_the_twin_of_a_backend_in_layers_works(twin, layer, tmp_path):
    inner = Model(model="m")
    backend = {
        "cached": lambda: cached(inner),
        "retried": lambda: retried(inner, attempts=2),
        "recorded": lambda: recorded(inner, tmp_path / "calls.jsonl"),
        "guarded": lambda: guarded(inner),
        "Balanced": lambda: Balanced([inner, Model(model="n")]),
    }[layer]()
    again = twin(cached(backend))
    calls = [ScorePair("q", "abc"), ScorePair("q", "a")]
    assert [reply.answer for reply in again.run(calls)] == [3.0, 1.0]
    assert (inner._loaded is None) == (twin is not copy.copy)


def test_a_deep_copy_of_a_cache_keeps_its_answers():
    backend = cached(Model(model="m"))
    backend.run([ScorePair("q", "abc")])
    again = copy.deepcopy(backend)
    assert again.run([ScorePair("q", "abc")]) == [Reply(3.0)]
    assert again.inner._loaded is None


@TWINS
@pytest.mark.parametrize("asked", [False, True])
def test_the_twin_of_a_server_has_its_own_connections(twin, asked):
    backend = OpenAIBackend("m", base_url="http://localhost:1", api_key="k", max_concurrency=3)
    if asked:
        with pytest.raises(BackendError):
            backend.warm_up()
    again = twin(backend)
    assert (again.model, again.base_url) == ("m", "http://localhost:1/v1")
    assert (again.api_key, again.max_concurrency) == ("k", 3)
    assert again._transport is None
    assert repr(again) == repr(backend)
    backend.close()
