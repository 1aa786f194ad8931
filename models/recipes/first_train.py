"""Train FIRST on SmolLM2-135M within a budget of time, and measure it.

python models/recipes/questions_data.py DATA --out short --words 80
python models/recipes/first_train.py MODEL.gguf short --out trained-first --minutes 25
RERANK_PLUGINS_DATA=DATA python models/recipes/first_train.py ... --measure

Windows of ten passages of at most ``--words`` words, in an order that is shuffled again in each
epoch; the order to learn is the fused teacher's, in which a judged passage has a bonus; weighted
RankNet on the identifiers' logits and the written order together (FIRST's joint loss), or with
``--loss kl`` the divergence from the teacher's distribution in place of RankNet. A few steps
are timed first, and the budget says how many follow, so that the learning rate falls to its end.
The same command resumes a run that was stopped, with as many steps.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from commands import execute
from licences import read_licensed

from rerank_plugins.prompts import ListwisePrompt, require
from rerank_plugins.strategies import SingleToken, SlidingWindow
from rerank_plugins.training import Lora, Objective, TrainingList, TrainingOptions, train

WINDOW, STRIDE = 10, 5
TIMED = (3, 30, 300)  # steps; more where a GPU makes them short
FEWEST = 10  # steps of any budget
# On a CPU the processor's time: other processes do not shorten the training.
CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time
MEASURED = ("scifact", "cranfield", "dl19")


def main() -> None:
    given = arguments()
    rows, licences = read_licensed(given.lists / "questions.train.jsonl.gz")
    held_out, _ = read_licensed(given.lists / "questions.val.jsonl.gz")
    rows = [by_teacher(one.cut(WINDOW)) for one in rows]
    strategy = ranker(given.words)
    steps = budget(given, strategy, rows)
    print(f"{steps} steps on {len(rows)} lists", flush=True)
    done = train(
        given.model,
        strategy,
        rows,
        given.out,
        validation=[one.cut(WINDOW) for one in held_out[: given.validate]],
        options=options(given, steps),
        about={"licences": licences},
    )
    curve = given.out / "history.json"
    curve.write_text(json.dumps([dict(line) for line in done.history], indent=1) + "\n", "utf-8")
    print(f"loss {done.loss:.4f}, nDCG@10 {done.ndcg_before:.4f} -> {done.ndcg:.4f}", flush=True)
    if given.measure:
        measure(given.out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="SmolLM2-135M-Instruct: a .gguf file, a folder or a hub id")
    parser.add_argument("lists", type=Path, help="folder that questions_data.py made, with --words")
    parser.add_argument("--out", type=Path, required=True, help="the trained adapter's folder")
    parser.add_argument("--minutes", type=float, default=25.0, help="of training, without loading")
    parser.add_argument("--words", type=int, default=80, help="of a passage at most")
    parser.add_argument("--lora", type=int, default=32, help="the adapter's rank")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--batch", type=int, default=1, help="lists in a forward pass")
    parser.add_argument("--accumulate", type=int, default=8, help="forward passes in a step")
    parser.add_argument(
        "--loss", choices=("ranknet", "kl"), default="ranknet", help="over the identifiers' logits"
    )
    parser.add_argument("--lm-weight", type=float, default=1.0, help="of the written order")
    parser.add_argument("--validate", type=int, default=40, help="held-out lists")
    parser.add_argument("--validations", type=int, default=8, help="while training")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--measure", action="store_true", help="afterwards, on whole collections")
    return parser.parse_args()


def by_teacher(one: TrainingList) -> TrainingList:
    """The list with the teacher's scores as labels: they have the judgement in them."""
    return replace(one, labels=one.teacher)


def ranker(words: int, prompt: str = "short-letters.v1") -> SlidingWindow:
    """FIRST with a prompt that cuts passages at so many words."""
    own = require(prompt, ListwisePrompt)
    known = own.max_passage_words == words  # then the name says it all
    asked = prompt if known else replace(own, max_passage_words=words)
    return SlidingWindow(SingleToken(prompt=asked), size=WINDOW, stride=STRIDE)


def options(given: argparse.Namespace, steps: int) -> TrainingOptions:
    """The same whenever the same command is given, but for the number of steps."""
    return TrainingOptions(
        max_steps=steps,
        batch_size=given.batch,
        accumulate=given.accumulate,
        learning_rate=given.learning_rate,
        warmup=max(1, min(20, steps // 10)),
        objective=Objective(
            ranking=given.loss,
            weight=10.0 if given.loss == "ranknet" else 1.0,
            lm_weight=given.lm_weight,
        ),
        lora=Lora(rank=given.lora),
        context_tokens=2048,
        bf16=True,
        evaluate_every=max(5, -(-steps // given.validations)),
        seed=given.seed,
    )


def budget(given: argparse.Namespace, strategy: SlidingWindow, rows: Sequence[TrainingList]) -> int:
    """The steps that fit into the minutes; of a run that was stopped, those that it had."""

    def trial(folder: Path, steps: int) -> object:
        asked = replace(options(given, steps), evaluate_every=10**6)
        return train(given.model, strategy, rows[: 64 * given.batch], folder, options=asked)

    return timed_steps(given.out.with_name(given.out.name + ".steps.json"), given.minutes, trial)


def timed_steps(path: Path, minutes: float, trial: Callable[[Path, int], object]) -> int:
    """The steps that fit into so many minutes, by a trial of a few.

    Args:
        path: The file that keeps the answer: a run that was stopped resumes with as many steps.
        minutes: Of training, without loading: of a core, or of the clock where there is a GPU.
        trial: Trains so many steps in a folder.
    """
    if path.is_file():
        return int(json.loads(path.read_text("utf-8"))["steps"])
    alone = timed(trial, 1)
    for count in TIMED:
        more = timed(trial, 1 + count) - alone
        if more > alone / 4:  # else loading hides the steps
            break
    each = max(1e-3, more / count)
    steps = max(FEWEST, int(60 * minutes / each))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"steps": steps, "seconds_a_step": round(each, 3)}) + "\n", "utf-8")
    return steps


def timed(trial: Callable[[Path, int], object], steps: int) -> float:
    """The seconds of a trial."""
    start = CLOCK()
    with tempfile.TemporaryDirectory() as folder:
        trial(Path(folder), steps)
    return CLOCK() - start


def measure(folder: Path) -> None:
    """BM25's first ten of whole collections, from their order and shuffled; places that win."""
    script = Path(__file__).parents[2] / "benchmarks" / "own_models.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for section, collection in [*(("first", name) for name in MEASURED), ("places", "dl19")]:
        command = [sys.executable, str(script), section, collection, "--depth", "10"]
        subprocess.run([*command, "--first", str(folder)], env=environment, check=True)


if __name__ == "__main__":
    execute(main)
