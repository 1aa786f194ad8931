"""Train a linear map of token vectors for late interaction, on an encoder that stays as it is.

python models/recipes/questions_data.py DATA --out wide --size 40 --sources covidqa scifact
python models/recipes/projection.py train wide --out projection
python models/recipes/projection.py add projection/best.safetensors FOLDER/model_int8.onnx

The vectors of texts are computed once, so that a step takes a tenth of a second on one core. Of a
passage the three tokens count that are most like each of the query's before training: others win
too seldom to matter. Weight decay pulls towards the map that changes nothing. The same command
resumes a run that was stopped, to the same weights.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from commands import execute
from licences import read_licensed
from safetensors.torch import load_file, save
from torch.nn.utils.rnn import pad_sequence

from rerank_plugins._files import replacing
from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.backends._onnx.projection import with_projection
from rerank_plugins.evaluation import evaluate
from rerank_plugins.training._objectives import late_interaction
from rerank_plugins.training.data import TrainingList
from rerank_plugins.training.losses import ranking_loss

NEAREST = 3  # tokens of a passage for each token of the query
HARD, OTHERS = 4, 3  # negatives in a step: of the first by the teacher, and of the rest
FIRST = 15
SCALE = 30.0  # of mean cosines before the loss
WARMUP = 20  # steps
PREFIX = "projection"


class Vectors(NamedTuple):
    """A list with the vectors that count."""

    given: TrainingList
    query: torch.Tensor
    passages: list[torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("lists", type=Path, help="folder that questions_data.py made")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--encoder", default="rerank-plugins/minilm-late-interaction")
    training.add_argument("--loss", default="kl", help="kl, cross-entropy, margin-mse, ...")
    training.add_argument("--learning-rate", type=float, default=5e-4)
    training.add_argument("--weight-decay", type=float, default=2.0)
    training.add_argument("--batch", type=int, default=8, help="lists in a step")
    training.add_argument("--steps", type=int, default=400)
    training.add_argument("--evaluate-every", type=int, default=100)
    training.add_argument("--seed", type=int, default=0)
    adding = commands.add_parser("add")
    adding.add_argument("projection", type=Path, help="a .safetensors file that train made")
    adding.add_argument("graph", type=Path, help="the exported encoder, which is changed")
    adding.add_argument("--share", type=float, default=1.0, help="of the change, 0 to 1")
    given = parser.parse_args()
    torch.set_num_threads(1)
    {"train": train, "add": add}[given.command](given)


def train(given: argparse.Namespace) -> None:
    """Train, and keep the map that ranks the held-out lists best beside the last one."""
    given.out.mkdir(parents=True, exist_ok=True)
    rows, licences = read_licensed(given.lists / "questions.train.jsonl.gz")
    held_out, _ = read_licensed(given.lists / "questions.val.jsonl.gz")
    encode = LateInteractionBackend(given.encoder, threads=1)._encoder()
    known: dict[str, np.ndarray] = {}
    lists = [vectors_of(row, encode, known) for row in rows]
    checks = [vectors_of(row, encode, known, nearest=None) for row in held_out]
    dim = lists[0].query.shape[-1]
    change = torch.nn.Parameter(torch.zeros(dim, dim))
    moved = torch.optim.AdamW([change], lr=given.learning_rate, weight_decay=given.weight_decay)
    loss_of = ranking_loss(given.loss)
    history = resumed(given.out, change, moved)
    best = max((line.get("ndcg", 0.0) for line in history), default=0.0)
    if not history:
        history.append({"step": 0, "ndcg": ndcg(checks, change)})
        print(json.dumps(history[-1]), flush=True)
    for step in range(int(history[-1]["step"]) + 1, given.steps + 1):
        left = 1 - step / given.steps
        for group in moved.param_groups:
            group["lr"] = given.learning_rate * min(1.0, step / WARMUP) * max(0.02, left)
        losses = []
        for one, shown in drawn(lists, given, step):
            scores = SCALE * scored(one, change, shown)[None]
            teacher = torch.tensor([[one.given.teacher[i] for i in shown]])
            labels = torch.tensor([[one.given.labels[i] for i in shown]])
            losses.append(loss_of(scores, labels, teacher))
        loss = torch.stack(losses).mean()
        moved.zero_grad()
        loss.backward()
        moved.step()
        line = {"step": step, "loss": round(loss.item(), 5)}
        if step % given.evaluate_every == 0 or step == given.steps:
            line["ndcg"] = ndcg(checks, change)
            print(json.dumps(line), flush=True)
        history.append(line)
        if "ndcg" in line:
            if line["ndcg"] > best:
                best = line["ndcg"]
                write(given.out / "best.safetensors", {PREFIX: whole(change)}, licences)
            checkpoint(given.out, change, moved, history)
    write(given.out / "last.safetensors", {PREFIX: whole(change)}, licences)


def vectors_of(
    row: TrainingList, encode, known: dict[str, np.ndarray], nearest: int | None = NEAREST
) -> Vectors:
    """The vectors of the query, and those of each passage that may be the best for one of it."""
    query = torch.from_numpy(encode.encode([row.query], "query")[0].vectors)
    passages = []
    for text in map(str, row.passages):
        if text not in known:
            known[text] = encode.encode([text], "passage")[0].vectors.astype(np.float16)
        vectors = torch.from_numpy(known[text])
        if nearest is not None:
            alike = query @ vectors.float().T
            near = alike.topk(min(nearest, len(vectors)), dim=1).indices
            vectors = vectors[near.flatten().unique()]
        passages.append(vectors)
    return Vectors(row, query, passages)


def drawn(
    lists: Sequence[Vectors], given: argparse.Namespace, step: int
) -> Iterator[tuple[Vectors, list[int]]]:
    """The lists of a step with a relevant passage and some others; a resumed run draws the same."""
    chance = Random(f"{given.seed} {step}")
    for _ in range(given.batch):
        one = chance.choice(lists)
        labels, teacher = one.given.labels, one.given.teacher
        relevant = [i for i, label in enumerate(labels) if label > 0]
        others = sorted(
            (i for i in range(len(labels)) if labels[i] <= 0), key=lambda i: -teacher[i]
        )
        hard, rest = others[:FIRST], others[FIRST:]
        shown = [chance.choice(relevant), *chance.sample(hard, min(HARD, len(hard)))]
        yield one, shown + chance.sample(rest, min(OTHERS, len(rest)))


def scored(one: Vectors, change: torch.Tensor, shown: Sequence[int]) -> torch.Tensor:
    """The mean cosines of some passages of a list, with the vectors that the map gives."""
    texts = [one.query, *(one.passages[i].float() for i in shown)]
    lengths = torch.tensor([len(text) for text in texts])
    states = pad_sequence(texts, batch_first=True)
    counted = torch.arange(states.shape[1])[None] < lengths[:, None]
    where = torch.ones(1, len(shown), dtype=torch.bool)
    return late_interaction(states + states @ change.T, counted, where)[0]


@torch.no_grad()
def ndcg(lists: Sequence[Vectors], change: torch.Tensor) -> float:
    """Mean nDCG@10 of held-out lists."""
    run, qrels = {}, {}
    for number, one in enumerate(lists):
        scores = scored(one, change, range(len(one.passages))).tolist()
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        run[str(number)] = [str(i) for i in order]
        qrels[str(number)] = {str(i): int(label) for i, label in enumerate(one.given.labels)}
    return round(float(evaluate(run, qrels, ["nDCG@10"])["nDCG@10"]), 5)


def whole(change: torch.Tensor) -> torch.Tensor:
    """The map itself: the identity and the change."""
    return torch.eye(len(change)) + change.detach()


def checkpoint(folder: Path, change: torch.Tensor, moved, history: list[dict[str, float]]) -> None:
    """Write the state of the run: tensors without pickle, and the history last."""
    [state] = moved.state_dict()["state"].values()
    tensors = {"change": change.detach(), **{name: state[name] for name in sorted(state)}}
    write(folder / "state.safetensors", tensors, [])
    with replacing(folder / "history.json") as file:
        file.write(json.dumps(history).encode() + b"\n")


def resumed(folder: Path, change: torch.Tensor, moved) -> list[dict[str, float]]:
    """Put the state of a run that was stopped back, and return its history."""
    path = folder / "history.json"
    if not path.is_file():
        return []
    tensors = load_file(folder / "state.safetensors")
    change.data.copy_(tensors.pop("change"))
    state = moved.state_dict() | {"state": {0: tensors}}
    moved.load_state_dict(state)
    history: list[dict[str, float]] = json.loads(path.read_text("utf-8"))
    return history


def write(path: Path, tensors: dict[str, torch.Tensor], licences: Sequence[str]) -> None:
    """Write tensors whole or not at all, with the licences of what they learned from."""
    about = {"format": "pt", "licences": "; ".join(licences)}
    with replacing(path) as file:
        file.write(save({name: one.contiguous() for name, one in tensors.items()}, about))


def add(given: argparse.Namespace) -> None:
    """Add the map to an exported encoder, as a second output."""
    import onnx

    weight = load_file(given.projection)[PREFIX].numpy()
    identity = np.eye(*weight.shape, dtype=np.float32)
    model = with_projection(
        onnx.load(str(given.graph)), identity + given.share * (weight - identity)
    )
    with replacing(given.graph) as file:
        file.write(model.SerializeToString())


if __name__ == "__main__":
    execute(main)
