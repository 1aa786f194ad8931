"""What Prometheus is told. Each application has a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..ranking import Ranking
from ._admission import Gate

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the latency histogram, in seconds: from a small cross-encoder to reasoning."""


class Metrics:
    """The counters of one application.

    Args:
        gate: Whose counts are shown as gauges.
    """

    def __init__(self, gate: Gate) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by path and status", "path", "status")
        self._seconds = Histogram(
            "rerank_request_seconds",
            "Seconds from a rerank request's headers to its answer, refusals included",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._documents = self._counter("documents", "Documents ranked")
        self._tokens = self._counter("tokens", "Tokens the model read and wrote", "kind")
        self._calls = self._counter("model_calls", "Questions put to the model")
        self._fallbacks = self._counter("fallbacks", "Rankings that fell back, wholly or in part")
        inside = Gauge(
            "rerank_requests_in_flight", "Requests let in, waiting ones too", registry=self.registry
        )
        inside.set_function(lambda: gate.inside)
        ranking = Gauge("rerank_rankings_in_flight", "Rankings under way", registry=self.registry)
        ranking.set_function(lambda: gate.ranking)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"rerank_{name}", about, labels, registry=self.registry)

    def answered(self, path: str, status: int, seconds: float | None) -> None:
        """Count an answer; ``seconds`` where it was a rerank request."""
        self._requests.labels(path, str(status)).inc()
        if seconds is not None:
            self._seconds.observe(seconds)

    def ranked(self, ranking: Ranking, documents: int) -> None:
        """Count a ranking."""
        self._documents.inc(documents)
        self._tokens.labels("prompt").inc(ranking.usage.prompt_tokens)
        self._tokens.labels("generated").inc(ranking.usage.generated_tokens)
        self._calls.inc(ranking.usage.calls)
        self._fallbacks.inc(ranking.report.fallback)
