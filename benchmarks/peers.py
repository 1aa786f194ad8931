"""Processes that rank, each in the environment of its library, asked in turns."""

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass
class Peer:
    """A library's ranker in a process of its own.

    Attributes:
        name: A function of ``rankers.py``.
        python: The interpreter of its environment.
        seconds: Of every ranking that was timed.
        orders: What it answered, by query.
        failed: Why it cannot run here; empty where it can.
    """

    name: str
    python: Path
    seconds: list[float] = field(default_factory=list)
    orders: dict[str, list[int]] = field(default_factory=dict)
    peak_mb: int = 0
    failed: str = ""

    def start(self, model: Path) -> None:
        """Load the model; an error is kept, not raised: the table has a line for it."""
        log = (HERE / "logs" / f"{self.name}.log").open("w")
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
            self.seconds.append(answer["seconds"])
            self.orders[key] = answer["order"]

    def stop(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def race(peers: Sequence[Peer], requests: Sequence[tuple[str, str, Sequence[str]]]) -> None:
    """Every peer ranks every query; who is first changes from query to query."""
    key, query, texts = requests[0]
    for peer in peers:
        peer.ask(key, query, texts, timed=False)
    source = random.Random(0)
    for key, query, texts in requests:
        for peer in source.sample(list(peers), len(peers)):
            peer.ask(key, query, texts)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def ratios(peer: Peer, base: Peer) -> tuple[float, float, float]:
    """Median, lowest and highest of time over the base's time, query by query."""
    each = [a / b for a, b in zip(peer.seconds, base.seconds, strict=True)]
    return statistics.median(each), min(each), max(each)


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return (lines or ["it ended without a word"])[-1][:200]
