"""Train one small model in every way that the library ranks, and measure them beside each other.

python models/recipes/group_data.py DATA --out groups
RERANK_PLUGINS_DATA=DATA python models/recipes/paradigms.py MODEL.gguf groups --out rows --write

The same base (SmolLM2-135M-Instruct), lists, loss and minutes for each row; rows that are finished
are kept, and one that was stopped resumes. Weighted RankNet on the fused teacher's order trains
every row but the written grades, which are the teacher's scores from 0 to 10. Then BM25's first
ten passages of each collection are reranked, the first ``--words`` words of each, as they came and
after the training. ``--write`` makes docs/paradigms.md, its figure and the file of its figures.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

from asked_measure import of_run
from commands import execute
from first_train import by_teacher, timed_steps
from licences import read_licensed
from text import first_words

from rerank_plugins import Reranker, Usage, load_reranker
from rerank_plugins.backends import (
    CrossEncoderBackend,
    LateInteractionBackend,
    TransformersBackend,
)
from rerank_plugins.backends._local.loading import unpacked_gguf
from rerank_plugins.evaluation import compare, rerank_run, run_passages
from rerank_plugins.prompts import ListwisePrompt, require
from rerank_plugins.ranking import Strategy
from rerank_plugins.strategies import (
    Groupwise,
    PairScore,
    Pointwise,
    QueryLikelihood,
    SingleToken,
)
from rerank_plugins.training import Lora, Objective, TrainingList, TrainingOptions, train
from rerank_plugins.training._batches import group_lists

ROOT = Path(__file__).parents[2]
COLLECTIONS = ("scifact", "cranfield", "dl19")
DEPTH = 10
TOP_GRADE = 10
ACCUMULATE = 2
RANKNET = Objective(ranking="ranknet", weight=10.0, lm_weight=0.0)


@dataclass(frozen=True)
class Row:
    """One way to rank with the model.

    Attributes:
        title: What the table says.
        strategy: Asks the model.
        objective: What its training minimises.
        opened: Makes the backend of a folder with a trained model, or of None for the base.
        labels: The labels that it learns.
        options: What differs from the other rows' training.
        weights: What the base is trained as: a language model, its folder, or its layers alone.
    """

    title: str
    strategy: Strategy
    opened: Callable[[str, Path | None], Any]
    objective: Objective = RANKNET
    labels: Callable[[TrainingList], TrainingList] = by_teacher
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Callable[[str], str | Path] = str


def graded(one: TrainingList) -> TrainingList:
    """The list with grades from 0 to 10: the teacher's scores between its lowest and highest."""
    low, high = min(one.teacher), max(one.teacher)
    return replace(
        one, labels=tuple(round(TOP_GRADE * (t - low) / (high - low)) for t in one.teacher)
    )


def language_model(base: str, trained: Path | None) -> TransformersBackend:
    """The base, with an adapter once there is one."""
    return TransformersBackend(base, adapter=trained, dtype="bfloat16")


def classifier(base: str, trained: Path | None) -> CrossEncoderBackend | None:
    """The base has no head that scores pairs."""
    return CrossEncoderBackend(trained, dtype="bfloat16") if trained else None


def encoder(base: str, trained: Path | None) -> LateInteractionBackend:
    """The base without its head for words; each ranking reads all passages, nothing is kept."""
    folder = trained or bare(base)
    return LateInteractionBackend(folder, engine="torch", dtype="bfloat16", cache_bytes=0)


def unpacked(base: str) -> Path:
    """A folder with the base's weights."""
    return unpacked_gguf(Path(base)) if base.endswith(".gguf") else Path(base)


def bare(base: str) -> Path:
    """The base's layers in a folder of their own, which an encoder is loaded from."""
    from transformers import AutoModel, AutoTokenizer

    source = unpacked(base)
    target = source.with_name(source.name + "-layers")
    if not (target / "config.json").is_file():
        AutoTokenizer.from_pretrained(source).save_pretrained(target)
        AutoModel.from_pretrained(source).save_pretrained(target)
    return target


LETTERS = replace(require("short-letters.v1", ListwisePrompt), max_passage_words=200)
ROWS: Mapping[str, Row] = {
    "first": Row("FIRST", SingleToken(prompt=LETTERS), language_model),
    "yes-no": Row("yes or no", Pointwise(prompt="yes-no.v1"), language_model),
    "likelihood": Row("query likelihood", QueryLikelihood(), language_model),
    "grades": Row(
        "written grades",
        Groupwise(size=DEPTH, interval=DEPTH, weight=1.0, max_tokens=100),
        language_model,
        objective=Objective(ranking=None, lm_weight=1.0),
        labels=graded,
    ),
    "cross-encoder": Row("cross-encoder", PairScore(), classifier, weights=unpacked),
    "late": Row(
        "late interaction",
        PairScore(),
        encoder,
        options={"late_interaction": True},
        weights=bare,
    ),
}
SHIPPED = {
    "shipped-first": ("FIRST that ships", "rerank-plugins/smollm2-first"),
    "minilm-late": ("MiniLM, late interaction", "rerank-plugins/minilm-late-interaction"),
    "minilm-cross": ("MiniLM, cross-encoder", "rerank-plugins/minilm-cross-encoder"),
}


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    lists, licences = read_licensed(given.lists / "questions.train.jsonl.gz")
    for name in given.rows if given.minutes else ():
        trained(name, given, lists, licences)
    measured = measure(given)
    if given.write:
        write(given, measured)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="SmolLM2-135M-Instruct: a .gguf file or a folder")
    parser.add_argument("lists", type=Path, help="folder that group_data.py made")
    parser.add_argument("--out", type=Path, required=True, help="trained models and figures")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of a core for each row; 0: measure"
    )
    parser.add_argument("--words", type=int, default=60, help="of a passage")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--queries", type=int, default=60, help="of a collection at most")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--write", action="store_true", help="the page of the documentation")
    return parser.parse_args()


def trained(
    name: str, given: argparse.Namespace, lists: list[TrainingList], licences: list[str]
) -> None:
    """Train a row, unless that was done."""
    row, folder = ROWS[name], given.out / name
    if (folder / "reranker.json").is_file():
        return
    base = str(row.weights(given.model))
    taught = [row.labels(one) for one in lists]
    steps = timed_steps(
        folder.with_name(f"{name}.steps.json"),
        given.minutes,
        lambda folder, n: train(
            base, row.strategy, taught[:200], folder, options=options(row, n, given)
        ),
    )
    rows = chosen(row, taught, steps, given.seed)
    done = train(
        base,
        row.strategy,
        rows,
        folder,
        options=options(row, steps, given),
        about={"licences": licences},
    )
    curve = [line["loss"] for line in done.history if "loss" in line]
    noted = {"steps": done.steps, "lists": len(rows), "loss": [round(x, 4) for x in curve]}
    (given.out / f"{name}.trained.json").write_text(json.dumps(noted) + "\n", "utf-8")
    print(f"{name}: {done.steps} steps, loss {curve[0]:.3f} -> {curve[-1]:.3f}", flush=True)


def chosen(row: Row, lists: list[TrainingList], steps: int, seed: int) -> list[TrainingList]:
    """The lists that so many steps read: FIRST reads all that share their passages at once."""
    groups = group_lists(lists, together=isinstance(row.strategy, SingleToken))
    passes = min(ACCUMULATE * steps, len(groups))
    return [one for group in Random(seed).sample(groups, passes) for one in group]


def options(row: Row, steps: int, given: argparse.Namespace) -> TrainingOptions:
    """The same for all rows, but for what a row needs."""
    return TrainingOptions(
        max_steps=steps,
        accumulate=ACCUMULATE,
        learning_rate=given.learning_rate,
        warmup=max(1, steps // 10),
        objective=row.objective,
        lora=Lora(rank=16),
        bf16=True,
        evaluate_every=max(10, steps // 4),
        seed=given.seed,
        **row.options,
    )


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The figures of every row and collection; those that are known are kept."""
    path = given.out / "measured.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    for name in [f"{row}{end}" for row in given.rows for end in ("", "+")] + list(SHIPPED):
        for collection in COLLECTIONS:
            key = f"{name} {collection}"
            if key not in known and (reranker := opened(name, given)):
                known[key] = figures(reranker, collection, given)
                print(key, known[key], flush=True)
                path.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    return known


def opened(name: str, given: argparse.Namespace) -> Reranker | None:
    """A row's reranker; with a plus at the end of its name, trained."""
    if name == "shipped-first":
        return load_reranker(SHIPPED[name][1], base=given.model, dtype="bfloat16")
    if name in SHIPPED:
        return load_reranker(SHIPPED[name][1], strategy="pair-score")
    row, folder = ROWS[name.removesuffix("+")], given.out / name.removesuffix("+")
    if name.endswith("+") and not (folder / "reranker.json").is_file():
        return None
    backend = row.opened(given.model, folder if name.endswith("+") else None)
    return Reranker(row.strategy, backend, on_error="keep_order") if backend else None


def figures(reranker: Reranker, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """One collection's figures: nDCG@10 against the first stage, and the mean cost of a query."""
    data = Path(os.environ["RERANK_PLUGINS_DATA"])
    _, collection, run = of_run(data, name, "bm25", given.queries)
    reranker.rank("warm up", ["one passage", "another"])
    rankings, total, seconds, unread = {}, Usage(), 0.0, 0
    for query in run:
        texts = [shown(p, given.words) for p in run_passages(collection, run, query)[:DEPTH]]
        start = time.process_time()
        rankings[query] = reranker.rank(collection.queries[query], texts)
        seconds += time.process_time() - start
        total += rankings[query].usage
        unread += bool(rankings[query].report.fallbacks or rankings[query].report.malformed)
    change = compare(run, rerank_run(run, rankings), collection.qrels)
    return {
        "queries": len(run),
        "first": round(change.first, 4),
        "ndcg": round(change.second, 4),
        "interval": [round(change.low, 4), round(change.high, 4)],
        "better": change.wins,
        "worse": change.losses,
        "calls": round(total.calls / len(run), 1),
        "prompt_tokens": round(total.prompt_tokens / len(run)),
        "generated_tokens": round(total.generated_tokens / len(run)),
        "seconds": round(seconds / len(run), 3),
        "unread": unread,
    }


def shown(passage: str, words: int) -> str:
    """The first words of a passage, its title before it: all rows read the same."""
    title = getattr(passage, "passage_title", "")
    return first_words(f"{title}. {passage}" if title else str(passage), words)


def write(given: argparse.Namespace, measured: dict[str, Any]) -> None:
    """Write the figures, the table of docs/paradigms.md and its picture."""
    import sys

    sys.path.insert(0, str(ROOT / "benchmarks"))
    import paradigms_page

    found = {
        "date": date.today().isoformat(),
        "machine": f"one core of {platform.processor() or platform.machine()}",
        "command": "make paradigms",
        "words": given.words,
        "minutes": given.minutes,
        "titles": {name: row.title for name, row in ROWS.items()}
        | {name: title for name, (title, _) in SHIPPED.items()},
        "trained": {
            name: json.loads(path.read_text("utf-8"))
            for name in ROWS
            if (path := given.out / f"{name}.trained.json").is_file()
        },
        "measured": measured,
    }
    paradigms_page.write(found)


if __name__ == "__main__":
    execute(main)
