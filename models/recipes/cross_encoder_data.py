"""Make the lists that the cross-encoder is trained on, and those that choose its checkpoint.

python models/recipes/cross_encoder_data.py --encoder MINILM --scifact DIR --wordnet DIR \
    --python-docs DIR --out DIR
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import candidates
import torch
from candidates import BM25
from commands import execute
from encoder import Encoder, late_interaction, rarity
from licences import LICENCES, write_licensed
from pool import Pool, joined
from python_docs import pool_of_sections
from scifact import Abstract, abstracts, pool_of_abstracts
from teacher import Signals, Teacher, lexical_signal
from text import first_words
from wordnet import pool_of_concepts

from rerank_plugins import Passage
from rerank_plugins.evaluation import Collection, load_collection
from rerank_plugins.training.data import TrainingList

CLAIMS = LICENCES["scifact"]
GENERATED = "; ".join(LICENCES[source] for source in ("scifact", "wordnet", "python-docs"))
PASSAGE_WORDS = 55  # of a generated passage, and up to 15 more where a sentence is long
SLACK_WORDS = 15
ABSTRACT_WORDS = 170
LONGEST_QUERY = 40  # words
PASSAGE_TOKENS, ABSTRACT_TOKENS = 112, 128  # what the encoder reads
LIST_SIZE, CLAIM_LIST_SIZE = 8, 7
CITED = 1.5  # what a citation adds to the teacher's score
VALIDATION_LISTS, VALIDATION_DEPTH = 40, 10


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    chance = Random(given.seed)
    pool = source_pool(given, chance)
    teacher, generated = generated_lists(pool, given, chance)
    held_out, claims = claim_lists(given, teacher, Random(given.seed))
    written = [(one, GENERATED) for one in generated] + [(one, CLAIMS) for one in claims]
    made = write_licensed(written, given.out / "cross-encoder.train.jsonl.gz")
    judged = [(one, CLAIMS) for one in held_out]
    kept = write_licensed(judged, given.out / "cross-encoder.val.jsonl.gz")
    print(f"{made} lists to train on, {kept} to validate with")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, what in {
        "encoder": "all-MiniLM-L6-v2",
        "scifact": "SciFact in BEIR's layout",
        "wordnet": "WordNet's data.noun, data.verb and data.adj",
        "python-docs": "the Python documentation's sources: faq, howto, tutorial, ...",
        "out": "where the lists are written",
    }.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"folder: {what}")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--queries", type=int, default=4500, help="generated ones")
    parser.add_argument(
        "--pool",
        type=int,
        nargs=3,
        default=[3000, 2500, 500],
        help="passages of SciFact, WordNet and the Python documentation",
    )
    parser.add_argument("--held-out", type=int, default=80, help="claims that are not trained on")
    return parser.parse_args()


# --- generated queries


def source_pool(given: argparse.Namespace, chance: Random) -> Pool:
    """Passages and queries of all sources."""
    science, concepts, python = given.pool
    return joined(
        [
            pool_of_abstracts(given.scifact, science, PASSAGE_WORDS, chance),
            pool_of_concepts(given.wordnet, concepts, chance),
            pool_of_sections(given.python_docs, python, PASSAGE_WORDS, chance),
        ]
    )


def generated_lists(
    pool: Pool, given: argparse.Namespace, chance: Random
) -> tuple[Teacher, list[TrainingList]]:
    """The teacher in the units of these lists, and the lists in random order.

    The first passage of each is the one that the query was made from.
    """
    chance.shuffle(pool.queries)
    asked = [(q, p) for q, p in pool.queries if len(q.split()) <= LONGEST_QUERY][: given.queries]
    keys = list(pool.passages)
    texts = [first_words(text, PASSAGE_WORDS + SLACK_WORDS) for text in pool.passages.values()]
    chosen, signals = drawn(texts, [(q, keys.index(p)) for q, p in asked], given.encoder, chance)
    teacher = Teacher.fitted(signals)
    lists = [
        TrainingList(
            query,
            tuple(texts[i] for i in positions),
            tuple(int(i == positions[0]) for i in positions),
            query_id=f"g{number}",
            ids=tuple(keys[i] for i in positions),
            teacher=tuple(teacher.scores(signals[number])),
        )
        for number, ((query, _), positions) in enumerate(zip(asked, chosen, strict=True))
    ]
    chance.shuffle(lists)
    return teacher, lists


def drawn(
    texts: Sequence[str], asked: Sequence[tuple[str, int]], encoder: Path, chance: Random
) -> tuple[list[list[int]], list[list[Signals]]]:
    """Positions of the candidates of each query, and their signals."""
    encode = Encoder(encoder, PASSAGE_TOKENS)
    passages, queries = encode(texts), encode([query for query, _ in asked])
    bm25, idf = BM25(texts), rarity(passages.tokens)
    chosen, signals = [], []
    for number, (query, source) in enumerate(asked):
        words = bm25.scores(query)
        cosines = passages.vectors @ queries.vectors[number]
        found = candidates.for_query(source, words, cosines, LIST_SIZE, chance)
        tokens = queries.tokens[number]
        chosen.append(found)
        signals.append(
            [
                (
                    float(cosines[i]),
                    late_interaction(tokens, passages.tokens[i], idf),
                    lexical_signal(words, i),
                )
                for i in found
            ]
        )
    return chosen, signals


# --- claims


def claim_lists(
    given: argparse.Namespace, teacher: Teacher, chance: Random
) -> tuple[list[TrainingList], list[TrainingList]]:
    """Lists of SciFact's train claims: to validate with, and to train on."""
    judged = load_collection(given.scifact, split="train")
    documents = abstracts(given.scifact)
    bm25 = BM25([document.full for document in documents])
    claims = sorted(judged.qrels)
    chance.shuffle(claims)
    held_out, rest = claims[: given.held_out], claims[given.held_out :]
    validation = list(validation_lists(judged, documents, bm25, held_out))[:VALIDATION_LISTS]
    place = {document.key: i for i, document in enumerate(documents)}
    lists = []
    for claim in rest:
        relevant = [place[key] for key in judged.qrels[claim]]
        scores = bm25.scores(judged.queries[claim])
        found = candidates.for_claim(relevant, scores, CLAIM_LIST_SIZE, chance)
        lists.append((claim, found, [lexical_signal(scores, i) for i in found]))
    return validation, list(taught_claims(judged, documents, lists, teacher, given.encoder))


def validation_lists(
    judged: Collection, documents: Sequence[Abstract], bm25: BM25, claims: Sequence[str]
) -> Iterator[TrainingList]:
    """BM25's first abstracts for each claim, where a cited one is among them."""
    for claim in claims:
        order = (-bm25.scores(judged.queries[claim])).argsort(kind="stable")
        made = listed(judged, claim, [documents[i] for i in order[:VALIDATION_DEPTH]])
        if any(made.labels):
            yield made


def taught_claims(
    judged: Collection,
    documents: Sequence[Abstract],
    lists: Sequence[tuple[str, list[int], list[float]]],
    teacher: Teacher,
    encoder: Path,
) -> Iterator[TrainingList]:
    """The lists, each a claim with positions and lexical signals, with the teacher's scores."""
    used = sorted({i for _, found, _ in lists for i in found})
    place = {i: n for n, i in enumerate(used)}
    encode = Encoder(encoder, ABSTRACT_TOKENS)
    passages = encode([documents[i].full for i in used])
    queries = encode([judged.queries[claim] for claim, _, _ in lists])
    idf = rarity(passages.tokens)
    for (claim, found, lexical), vector, tokens in zip(lists, *queries, strict=True):
        signals = [
            (
                float(passages.vectors[place[i]] @ vector),
                late_interaction(tokens, passages.tokens[place[i]], idf),
                words,
            )
            for i, words in zip(found, lexical, strict=True)
        ]
        yield listed(judged, claim, [documents[i] for i in found], teacher.scores(signals))


def listed(
    judged: Collection, claim: str, found: Sequence[Abstract], scores: Sequence[float] = ()
) -> TrainingList:
    """A claim's list: 1 is cited, 0 is not, and a citation adds to the teacher's scores."""
    cited = [int(document.key in judged.qrels[claim]) for document in found]
    return TrainingList(
        judged.queries[claim],
        tuple(Passage(first_words(d.text, ABSTRACT_WORDS), title=d.title) for d in found),
        tuple(cited),
        query_id=claim,
        ids=tuple(document.key for document in found),
        teacher=tuple(round(s + CITED * c, 4) for s, c in zip(scores, cited, strict=False)),
    )


if __name__ == "__main__":
    execute(main)
