"""Train one model on lists drawn from those of asked_data.py.

python models/recipes/asked_train.py late MINILM wide --out trained --steps 1500

``late`` trains an encoder for late interaction, ``pairs`` a cross-encoder, ``first`` SmolLM2 with
an adapter for FIRST. A list that is drawn has one relevant passage, hard others by the teacher, and
some of the rest. The teacher's scores are MiniLM's MaxSim, BM25's and the judgement, added up as in
`questions_data`; a written question's passage gets half of what a judged one gets, and judged
questions are drawn more often.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from commands import count, execute, positive
from first_train import ranker, timed_steps
from licences import licence_of
from questions_data import COSINES, JUDGED, WORDS, spread

from rerank_plugins import InputError
from rerank_plugins._files import rows_of
from rerank_plugins.ranking import Strategy
from rerank_plugins.strategies import PairScore
from rerank_plugins.training import Lora, Objective, TrainingList, TrainingOptions, train

WRITTEN = JUDGED / 2  # what being the passage of a written question adds


class Kind(NamedTuple):
    """Sizes and rates of a kind of model."""

    size: int  # passages of a list
    batch: int
    learning_rate: float
    tokens: int  # context_tokens


KINDS = {
    "late": Kind(8, 32, 5e-5, 180),
    "pairs": Kind(8, 32, 1e-4, 256),
    "first": Kind(10, 8, 3e-4, 2048),
}


def main() -> None:
    given = arguments()
    if torch.cuda.is_available():
        torch.set_num_threads(2)  # several trainings may share the machine
    kind = KINDS[given.kind]
    passages, licences = read_passages(given.lists / "passages.jsonl.gz")
    chance = Random(given.seed)
    wide = [row for _, row in rows_of(given.lists / "lists.jsonl.gz")]
    if not wide:
        raise InputError(f"{given.lists} has no lists")
    draws = [row for row in wide for _ in range(given.judged if row["judged"] else 1)]
    chance.shuffle(draws)
    batch = given.batch or kind.batch
    steps = given.steps or budget(given, kind, batch, passages, draws)
    needed = batch * steps // given.passes
    repeated = -(-needed // len(draws))
    rows = [drawn(row, passages, kind.size, chance, given) for row in (draws * repeated)[:needed]]
    print(f"{len(wide)} wide lists, {len(rows)} drawn, {steps} steps", flush=True)
    done = train(
        given.model,
        strategy(given),
        rows,
        given.out,
        options=options(given, kind, batch, steps),
        about={"licences": licences},
    )
    curve = [line["loss"] for line in done.history if "loss" in line]
    parts = [
        curve[i : i + max(1, len(curve) // 10)]
        for i in range(0, len(curve), max(1, len(curve) // 10))
    ]
    print("loss", *(f"{sum(part) / len(part):.3f}" for part in parts), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("model", help="the base: a folder, a hub id or a .gguf file")
    parser.add_argument("lists", type=Path, help="the folder that asked_data.py made")
    parser.add_argument("--out", type=Path, required=True, help="the trained model's folder")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=count)
    length.add_argument("--minutes", type=float, help="of training, by a trial of a few steps")
    parser.add_argument("--batch", type=count, help="lists in a step")
    parser.add_argument("--passes", type=count, default=1, help="over the lists that are drawn")
    parser.add_argument("--judged", type=count, default=4, help="draws of a judged question's list")
    parser.add_argument("--near", type=count, help="hardest passages, of which most are drawn")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument(
        "--loss", choices=("kl", "ranknet", "margin-mse", "cross-entropy"), default="kl"
    )
    parser.add_argument("--temperature", type=positive, default=1.0, help="of kl")
    parser.add_argument("--bonus", type=float, default=1.0, help="factor of the judgement")
    parser.add_argument("--words", type=count, default=90, help="of a passage that FIRST reads")
    parser.add_argument("--prompt", default="short-letters.v2", help="FIRST's")
    parser.add_argument("--lora", type=count, default=64, help="the rank of FIRST's adapter")
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    if given.loss != "kl" and given.temperature != 1:
        parser.error(f"--temperature is for --loss kl, and the loss is {given.loss}")
    return given


def read_passages(path: Path) -> tuple[dict[str, str], list[str]]:
    """Texts by id, and their licences, each once.

    Raises:
        InputError: A line states no licence.
    """
    texts, licences = {}, {}
    for number, row in rows_of(path):
        texts[row["_id"]] = row["text"]
        licences[licence_of(row, number, path)] = None
    return texts, list(licences)


def drawn(
    row: dict[str, Any], passages: dict[str, str], size: int, chance: Random, given: Any
) -> TrainingList:
    """A list: one relevant passage, some more than half of the hardest, the rest by chance."""
    bonus = given.bonus * (JUDGED if row["judged"] else WRITTEN)
    known = row["relevant"]
    teacher = [
        COSINES * similar + WORDS * word + bonus * (i < known)
        for i, (similar, word) in enumerate(zip(row["maxsim"], spread(row["bm25"]), strict=True))
    ]
    others = sorted(range(known, len(teacher)), key=lambda i: -teacher[i])
    near = others[: given.near or size]
    hard = chance.sample(near, min(len(near), size // 2 + 1))
    left = [i for i in others if i not in hard]
    places = [chance.randrange(known), *hard]
    places += chance.sample(left, min(size - len(places), len(left)))
    chance.shuffle(places)
    scores = tuple(round(teacher[i], 4) for i in places)
    return TrainingList(
        row["query"],
        tuple(passages[row["ids"][i]] for i in places),
        scores if given.loss == "ranknet" else tuple(int(i < known) for i in places),
        query_id=row["query_id"],
        ids=tuple(row["ids"][i] for i in places),
        teacher=scores,
    )


def strategy(given: argparse.Namespace) -> Strategy:
    """The strategy that the trained model ranks with."""
    return ranker(given.words, given.prompt) if given.kind == "first" else PairScore()


def budget(
    given: argparse.Namespace,
    kind: Kind,
    batch: int,
    passages: dict[str, str],
    draws: list[dict[str, Any]],
) -> int:
    """The steps that fit into the minutes."""
    chance = Random(given.seed)
    rows = [drawn(row, passages, kind.size, chance, given) for row in draws[: 8 * batch]]

    def trial(folder: Path, steps: int) -> object:
        asked = options(given, kind, batch, steps)
        return train(given.model, strategy(given), rows, folder, options=asked)

    path = given.out.with_name(given.out.name + ".steps.json")
    return timed_steps(path, given.minutes, trial)


def options(given: argparse.Namespace, kind: Kind, batch: int, steps: int) -> TrainingOptions:
    """A step is one forward pass on a GPU; on a CPU it is several, of one list each."""
    gpu = torch.cuda.is_available()
    common = TrainingOptions(
        max_steps=steps,
        batch_size=batch if gpu else 1,
        accumulate=1 if gpu else batch,
        learning_rate=given.learning_rate or kind.learning_rate,
        warmup=max(1, steps // 15),
        objective=objective(given),
        context_tokens=kind.tokens,
        bf16=True,
        evaluate_every=max(10, steps // 3),
        seed=given.seed,
    )
    if given.kind == "first":
        # beside an adapter in 32 bits the base's weights may be in 16
        return replace(common, lora=Lora(rank=given.lora), dtype="bfloat16" if gpu else "auto")
    return replace(common, late_interaction=given.kind == "late", dropout=0.0)


def objective(given: argparse.Namespace) -> Objective:
    """The loss; its weight makes up for the temperature, whose square divides its gradient."""
    if given.loss != "kl":
        return Objective(
            ranking=given.loss, weight=10.0 if given.loss == "ranknet" else 1.0, lm_weight=0.0
        )
    warm = given.temperature
    return Objective(ranking="kl", weight=warm**2, lm_weight=0.0, options={"temperature": warm})


if __name__ == "__main__":
    execute(main)
