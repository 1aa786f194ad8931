"""Processes that rank, each in the environment of its library, asked in turns."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inputs import Row
from turns import spread, with_interval

HERE = Path(__file__).parent
DISTRIBUTIONS = {
    "ours_cross_encoder": "rerank-plugins",
    "sentence_transformers": "sentence-transformers",
    "haystack": "sentence-transformers-haystack",
    "llama_index": "llama-index-core",
    "rerankers": "rerankers",
    "ours_vllm_first": "rerank-plugins",
    "ours_vllm_written": "rerank-plugins",
    "rankllm_first": "rank-llm",
    "rankllm_written": "rank-llm",
}


@dataclass
class Peer:
    """A library's ranker in a process of its own.

    Attributes:
        name: A function of ``rankers.py``.
        python: The interpreter of its environment.
        time: Of the ``"clock"``; or of the process, ``"cpu"``, where other work is not in it.
        seconds: Of every ranking that was timed.
        family: Processor time of the same, of its process and of those that it started.
        orders: What it answered, by query.
        failed: Why it cannot run here; empty where it can.
    """

    name: str
    python: Path
    time: str = "clock"
    seconds: list[float] = field(default_factory=list)
    family: list[float] = field(default_factory=list)
    orders: dict[str, list[int]] = field(default_factory=dict)
    peak_mb: int = 0
    failed: str = ""

    def start(self, model: Path) -> None:
        """Load the model; an error is kept, not raised: the table has a line for it."""
        log = (HERE / "logs" / f"{self.name}.log").open("w")
        if not self.python.exists():
            self.failed = "its environment is not there: run `make bench`"
            return
        self._process = subprocess.Popen(
            [self.python, HERE / "worker.py", self.name, model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        if not self._process.stdout.readline():
            self.failed = _last_line(HERE / "logs" / f"{self.name}.log")

    def ask(self, key: str, query: str, texts: Sequence[str], *, timed: bool = True) -> None:
        """Rank, and keep the time."""
        if self.failed:
            return
        try:
            print(json.dumps({"query": query, "texts": list(texts)}), file=self._process.stdin)
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self.failed = _last_line(HERE / "logs" / f"{self.name}.log")
            return
        self.peak_mb = answer["peak_mb"]
        if timed:
            self.seconds.append(answer["seconds"][self.time])
            self.family.append(answer["seconds"]["family"])
            self.orders[key] = answer["order"]

    def stop(self) -> None:
        """End the process."""
        if not hasattr(self, "_process"):
            return
        self._process.stdin.close()
        self._process.wait()

    def version(self) -> str:
        """Of its library; empty where that is not installed."""
        if not self.python.exists():
            return ""
        name = DISTRIBUTIONS[self.name]
        code = f"from importlib.metadata import version; print(version({name!r}))"
        command = [self.python, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def raced(peers: Sequence[Peer], model: Path, rows: Sequence[Row]) -> list[dict]:
    """A line for each peer: versions, times beside the first's, orders, memory, or why not."""
    for peer in peers:
        peer.start(model)
    race(peers, rows)
    for peer in peers:
        peer.stop()
    base = peers[0]
    return [_line(peer, base) for peer in peers]


def race(peers: Sequence[Peer], rows: Sequence[Row]) -> None:
    """Every peer ranks every query; who is first changes from query to query.

    A few passages are ranked beforehand, which is not counted.
    """
    key, query, texts = rows[0]
    for peer in peers:
        peer.ask(key, query, texts[:4], timed=False)
    source = random.Random(0)
    for key, query, texts in rows:
        for peer in source.sample(list(peers), len(peers)):
            peer.ask(key, query, texts)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _line(peer: Peer, base: Peer) -> dict:
    line = {"name": peer.name, "failed": peer.failed, "version": peer.version()}
    if peer.failed:
        return line
    same = [peer.orders[key] == base.orders.get(key) for key in peer.orders]
    times = {}
    if not base.failed:
        times = spread(peer.seconds, base.seconds)
        times["clock"] = with_interval(peer.seconds, base.seconds)
        times["processor"] = with_interval(peer.family, base.family)
    return line | times | {"same_order": sum(same), "peak_mb": peer.peak_mb}


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return (lines or ["it ended without a word"])[-1][:200]
