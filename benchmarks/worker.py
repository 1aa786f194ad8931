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
        began, begun = time.perf_counter(), time.process_time()
        order = rank(request["query"], request["texts"])
        seconds = {"clock": time.perf_counter() - began, "cpu": time.process_time() - begun}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            json.dumps({"seconds": seconds, "order": order, "peak_mb": peak}),
            file=answers,
            flush=True,
        )


if __name__ == "__main__":
    main()
