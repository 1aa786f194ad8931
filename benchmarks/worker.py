"""A ranker in a process of its own: requests and answers are lines of JSON.

    python benchmarks/worker.py NAME MODEL

NAME is a function of ``rankers.py``. What the libraries print goes to standard error.
"""

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    import rankers

    name, model = sys.argv[1:]
    rank = getattr(rankers, name)(model)
    print(json.dumps({"ready": name}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        began, begun, start = time.perf_counter(), time.process_time(), family_seconds()
        order = rank(request["query"], request["texts"])
        seconds = {
            "clock": time.perf_counter() - began,
            "cpu": time.process_time() - begun,
            "family": family_seconds() - start,
        }
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            json.dumps({"seconds": seconds, "order": order, "peak_mb": peak}),
            file=answers,
            flush=True,
        )


def family_seconds() -> float:
    """Processor time of this process and of those that it started, at any depth.

    Only Linux tells it of others that still run; elsewhere it is that of this process.
    """
    if sys.platform != "linux":
        return time.process_time()
    ticks, left = 0, [os.getpid()]
    while left:
        process = Path(f"/proc/{left.pop()}")
        ticks += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
        for children in process.glob("task/*/children"):
            left += map(int, children.read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
