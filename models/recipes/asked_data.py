"""Make wide lists of known and written questions: what competes for each, and the teacher's scores.

python models/recipes/asked_data.py DATA MINILM --asked asked.jsonl.gz --wordnet DIR \
    --manuals manuals.jsonl.gz --out wide

A list has up to ``--size`` passages of the question's source: the relevant ones, BM25's first and
the nearest by MiniLM's mean vectors, with MiniLM's MaxSim and BM25's score of each. A written
question is kept where its passage is among the first ``FOUND`` of them by MaxSim: otherwise others
answer it as well, or it is about nothing. A training draws its lists from these, other passages at
each, so one line holds positions and numbers, and the passages are in a file of their own.
A GPU makes them in minutes.
"""

import argparse
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from candidates import BM25, first
from commands import count, execute
from encoder import Encoder
from pools import KINDS, Question, Source, sources
from questions_data import same_article

from rerank_plugins import InputError
from rerank_plugins._files import rows_of

FOUND = 3  # ranks in which a written question's passage is
LEXICAL, DENSE = 16, 16  # ranks that the others come from
READ = 180  # tokens of a text


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    found = sources(given.data, given.wordnet, given.manuals, given.seed, given.only)
    if not found:
        raise InputError(
            "there are no passages of these kinds", hint="Give --manuals or --wordnet."
        )
    for path in given.asked or ():
        add_written(found, path)
    encoder = Encoder(given.encoder, READ)
    with (
        gzip.open(given.out / "passages.jsonl.gz", "wt", encoding="utf-8") as passages,
        gzip.open(given.out / "lists.jsonl.gz", "wt", encoding="utf-8") as lists,
    ):
        for source in found:
            for key, text in source.passages.items():
                row = {"_id": key, "text": text, "licence": source.licences[key]}
                passages.write(json.dumps(row, ensure_ascii=False) + "\n")
            asked, kept = 0, 0
            for row in lists_of(source, encoder, given.size, given.queries):
                asked += 1
                if row is not None:
                    kept += 1
                    lists.write(json.dumps(row, ensure_ascii=False) + "\n")
            print(f"{source.name}: {len(source.passages)} passages, {kept}/{asked}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with train/ and beir/")
    parser.add_argument("encoder", help="all-MiniLM-L6-v2: a folder or a hub id")
    parser.add_argument("--asked", type=Path, action="append", help="a file that asked.py wrote")
    parser.add_argument("--wordnet", type=Path, help="folder of data.noun, data.verb, data.adj")
    parser.add_argument("--manuals", type=Path, help="the file that manuals.py made")
    parser.add_argument("--out", type=Path, required=True, help="where the two files are written")
    parser.add_argument("--only", nargs="+", choices=KINDS, help="kinds of sources")
    parser.add_argument("--size", type=count, default=24, help="passages of a list at most")
    parser.add_argument("--queries", type=count, help="of each source at most")
    parser.add_argument("--seed", type=int, default=5)
    return parser.parse_args()


def add_written(found: Sequence[Source], path: Path) -> None:
    """Add the questions of a file to their sources."""
    by_name = {source.name: source for source in found}
    for number, row in rows_of(path):
        source = by_name.get(row["source"])
        if source is None:  # --only
            continue
        if row["passage"] not in source.passages:
            raise InputError(
                f"line {number} of {path} is about {row['passage']!r}, which {source.name} lacks",
                hint="Give the --seed, --wordnet and --manuals that it was made with.",
            )
        key = f"asked-{path.name.split('.')[0]}-{number}"
        source.questions.append(Question(key, row["text"], (row["passage"],)))


def lists_of(
    source: Source, encoder: Encoder, size: int, most: int | None
) -> Iterator[dict[str, Any] | None]:
    """A row for each question that is kept, None for each that is not."""
    keys = list(source.passages)
    texts = list(source.passages.values())
    at = {key: i for i, key in enumerate(keys)}
    bm25, passages = BM25(texts), encoder(texts)
    asked_for = source.questions
    if most:
        asked_for = Random(source.name).sample(asked_for, min(most, len(asked_for)))
    asked = encoder([one.text for one in asked_for])
    for one, vector, tokens in zip(asked_for, asked.vectors, asked.tokens, strict=True):
        words = bm25.scores(one.text)
        others = [*first(words, LEXICAL), *first(passages.vectors @ vector, DENSE)]
        places = competing(source.name, one, keys, at, others, size)
        similar = maxsim(tokens.vectors, [passages.tokens[i].vectors for i in places])
        yield row_of(one, keys, places, similar, words)


def competing(
    name: str,
    question: Question,
    keys: Sequence[str],
    at: Mapping[str, int],
    others: Iterable[int],
    size: int,
) -> list[int]:
    """Positions of the relevant passages, and then of those that compete with them."""
    relevant = [at[key] for key in question.relevant if key in at]
    further = [
        i
        for i in dict.fromkeys(others)
        if i not in relevant and not same_article(name, keys[i], question.relevant)
    ]
    return [*relevant[:3], *further][:size]


def maxsim(query: np.ndarray, passages: Sequence[np.ndarray]) -> list[float]:
    """The mean over the question's tokens of the highest cosine, for each passage.

    Args:
        query: Unit vectors of the question's tokens, shape ``(tokens, dim)``.
        passages: Those of each passage, none without tokens.
    """
    starts = [0, *accumulate(map(len, passages[:-1]))]
    cosines = query.astype(np.float32) @ np.concatenate(passages).astype(np.float32).T
    return list(map(float, np.maximum.reduceat(cosines, starts, axis=1).mean(0)))


def row_of(
    question: Question,
    keys: Sequence[str],
    places: Sequence[int],
    similar: Sequence[float],
    words: np.ndarray,
) -> dict[str, Any] | None:
    """The line of a list; None where a written question's passage is not found."""
    known = sum(key in question.relevant for key in (keys[i] for i in places))
    if known == len(places):
        return None
    if not question.judged and sum(one > similar[0] for one in similar) >= FOUND:
        return None
    return {
        "query_id": question.key,
        "query": question.text,
        "judged": question.judged,
        "relevant": known,
        "ids": [keys[i] for i in places],
        "maxsim": [round(one, 4) for one in similar],
        "bm25": [round(float(words[i]), 3) for i in places],
    }


if __name__ == "__main__":
    execute(main)
