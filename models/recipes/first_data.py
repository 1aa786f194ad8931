"""Make FIRST's lists: groups of ten passages, each with the ten queries of its passages.

The queries of a group stand one after the other and show the same passages, so that training reads
those once.

python models/recipes/first_data.py cross-encoder.train.jsonl.gz --encoder MINILM --out DIR
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from commands import execute
from licences import read_licensed, write_licensed
from sentence_transformers import SentenceTransformer
from text import first_words

from rerank_plugins.training.data import TrainingList

SIZE = 10
ROUNDS = 2  # groups that a passage may be in
NEIGHBOURS, NEIGHBOURHOOD = 5, 40  # of the first passage of a group, and the ranks they come from
COMPARED_WORDS, SHOWN_WORDS = 24, 32
HELD_OUT = 40  # groups
OWN_LABEL = 3.0  # of the passage that a query was made for; the others' are cosines
STEPS = 5  # of a cosine, from 0 to 1


class Pair(NamedTuple):
    """A query and the passage that it was made for."""

    query_id: str
    query: str
    passage_id: str
    compared: str
    shown: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lists", type=Path, help="cross-encoder.train.jsonl.gz")
    parser.add_argument("--encoder", type=Path, required=True, help="folder: all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True, help="where the lists are written")
    parser.add_argument("--seed", type=int, default=29)
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="groups to validate with")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    lists, licences = read_licensed(given.lists)
    licence = "; ".join(licences)
    pairs = read_pairs(lists)
    passages, queries = vectors(given.encoder, pairs)
    chance = Random(given.seed)
    groups = list(grouped(pairs, passages, chance))
    chance.shuffle(groups)
    rows = [
        row
        for number, group in enumerate(groups)
        if distinct([pairs[i] for i in group])
        for row in group_lists(number, group, pairs, passages, queries)
    ]
    # One query of a group is enough to see how its passages are ordered; its place in them varies.
    held_out = [rows[SIZE * k + k % SIZE] for k in range(given.held_out)]
    write_licensed([(one, licence) for one in held_out], given.out / "first.val.jsonl.gz")
    train = [(one, licence) for one in rows[SIZE * given.held_out :]]
    made = write_licensed(train, given.out / "first.train.jsonl.gz")
    print(f"{made} lists to train on, {len(held_out)} to validate with")


def read_pairs(lists: Sequence[TrainingList]) -> list[Pair]:
    """A pair of each list, with its first relevant passage; of equal pairs the first one."""
    pairs: dict[tuple[str, str], Pair] = {}
    found = []
    for one in lists:
        pair = _pair(one)
        found.append(pairs.setdefault((pair.query, pair.compared), pair))
    return found


def _pair(one: TrainingList) -> Pair:
    i = next(i for i, label in enumerate(one.labels) if label > 0)
    passage = one.passages[i]
    title = getattr(passage, "passage_title", "")
    # Some titles end with a full stop, and have two where they are compared.
    compared = f"{title}. {passage}" if title else passage
    shown = f"{title.removesuffix('.')}. {passage}" if title else passage
    return Pair(
        one.query_id,
        one.query,
        one.ids[i],
        first_words(compared, COMPARED_WORDS),
        first_words(shown, SHOWN_WORDS),
    )


def vectors(encoder: Path, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of passages and of queries."""
    model = SentenceTransformer(str(encoder), device="cpu")
    options = {"batch_size": 64, "normalize_embeddings": True, "show_progress_bar": False}
    passages = model.encode([pair.compared for pair in pairs], **options)
    return passages, model.encode([pair.query for pair in pairs], **options)


def grouped(pairs: Sequence[Pair], passages: np.ndarray, chance: Random) -> Iterator[list[int]]:
    """Groups of different passages, about half of them neighbours; each in one group a round."""
    similar = passages @ passages.T
    for _ in range(ROUNDS):
        left = set(range(len(pairs)))
        order = list(left)
        chance.shuffle(order)
        for i in order:
            if i in left and len(left) >= SIZE:
                group = _group(i, similar[i], left, pairs, chance)
                if len(group) == SIZE:
                    yield group


def _group(
    start: int, similar: np.ndarray, left: set[int], pairs: Sequence[Pair], chance: Random
) -> list[int]:
    """A passage with neighbours and others, which are taken from those that are left."""
    group: list[int] = []
    seen: set[str] = set()

    def take(found: Sequence[int], size: int) -> None:
        for i in found:
            if len(group) < size and pairs[i].compared not in seen:
                group.append(i)
                seen.add(pairs[i].compared)
                left.discard(i)

    take([start], 1)
    take([int(i) for i in np.argsort(-similar)[:NEIGHBOURHOOD] if i in left], 1 + NEIGHBOURS)
    take(chance.sample(sorted(left), min(3 * SIZE, len(left))), SIZE)
    return group


def distinct(group: Sequence[Pair]) -> bool:
    """Whether all passages of a group differ, in id and in text."""
    ids, texts = {pair.passage_id for pair in group}, {pair.shown for pair in group}
    return len(ids) == len(texts) == len(group)


def group_lists(
    number: int,
    group: Sequence[int],
    pairs: Sequence[Pair],
    passages: np.ndarray,
    queries: np.ndarray,
) -> Iterator[TrainingList]:
    """A list of each query of a group: its own passage first, the others by cosine in steps."""
    for i in group:
        cosines = [float(queries[i] @ passages[j]) for j in group]
        graded = [max(0.0, round(round(cosine * STEPS) / STEPS, 2)) for cosine in cosines]
        yield TrainingList(
            pairs[i].query,
            tuple(pairs[j].shown for j in group),
            tuple(OWN_LABEL if i == j else g for j, g in zip(group, graded, strict=True)),
            query_id=f"{pairs[i].query_id}-{number}",
            ids=tuple(pairs[j].passage_id for j in group),
        )


if __name__ == "__main__":
    execute(main)
