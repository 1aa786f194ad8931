"""Make lists of real questions in groups that show the same ten passages.

python models/recipes/group_data.py DATA --out groups

A passage is shown as the part of ``--words`` words that is most like its first question. A group
is a question's passage with others that have questions too, those of BM25's order for the first
question before the rest and none of the same article, and the questions of all of them. The
teacher's score is that of `questions_data`: MiniLM's MaxSim, BM25 and the judgement. With
``--hard`` a group is a passage and the nine that BM25 puts first for its question. FIRST reads
the passages of a group once for all its questions, which is why ten lists cost it little more than
one. Questions are held out by article, and form groups of their own.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from candidates import BM25, first
from commands import execute
from licences import LICENCES, write_licensed
from questions_data import (
    SOURCES,
    arguments,
    article,
    is_held_out,
    similarities,
    teacher_scores,
)
from text import chunks, first_words, sentences

from rerank_plugins import Reranker, load_reranker
from rerank_plugins.evaluation import Collection, load_collection
from rerank_plugins.training.data import TrainingList

QUESTIONS = ("covidqa", "pubmedqa", "scifact")
SIZE = 10
NEIGHBOURS = 7  # of the first question, by BM25; the others of a group are random
MOST = 2  # questions of one passage in a group
VALIDATED = 40  # held-out lists of a source


@dataclass(frozen=True)
class Asked:
    """A passage as it is shown, and the questions that it answers."""

    passage_id: str
    shown: str
    questions: tuple[str, ...]  # ids


def main() -> None:
    parser = arguments(__doc__, seed=31, sources=QUESTIONS)
    parser.add_argument("--words", type=int, default=60, help="of a passage at most")
    parser.add_argument("--rounds", type=int, default=2, help="groups that a question is in")
    parser.add_argument(
        "--hard", type=int, metavar="N", help="N groups of a source, of a question's nearest"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    miner = load_reranker(given.miner, strategy="pair-score", cache_folder=given.cache)
    train: list[list[tuple[TrainingList, str]]] = []
    held_out: list[tuple[TrainingList, str]] = []
    for source in given.sources:
        collection = load_collection(given.data / SOURCES[source], split="train")
        kept, left = split(source, collection, given.queries)
        licence = LICENCES[source]
        chance = Random(f"{given.seed} {source}")
        for _ in range(given.rounds):
            groups = lists_of(source, collection, kept, given, miner, chance)
            train += [[(one, licence) for one in group] for group in groups]
        groups = lists_of(source, collection, left, given, miner, chance)
        held_out += [(one, licence) for group in groups for one in group][:VALIDATED]
        print(f"{source}: {len(train)} groups so far", flush=True)
    Random(given.seed).shuffle(train)
    rows = [one for group in train for one in group]
    write_licensed(rows, given.out / "questions.train.jsonl.gz")
    if held_out:
        write_licensed(held_out, given.out / "questions.val.jsonl.gz")
    print(f"{len(rows)} lists to train on, {len(held_out)} to validate with")


def split(source: str, collection: Collection, queries: int | None) -> tuple[list[str], list[str]]:
    """The questions to train on, and those that are held out by the rule of `questions_data`."""
    found: tuple[list[str], list[str]] = ([], [])
    for query in list(collection.qrels)[:queries]:
        if relevant(collection, query):
            one = TrainingList(collection.queries[query], ("",), (0,), query_id=query)
            found[is_held_out(source, one)].append(query)
    return found


def relevant(collection: Collection, query: str) -> list[str]:
    """The ids of a question's relevant passages."""
    graded = collection.qrels[query]
    return [d for d, grade in graded.items() if grade > 0 and d in collection.documents]


def lists_of(
    source: str,
    collection: Collection,
    queries: Sequence[str],
    given: Namespace,
    miner: Reranker,
    chance: Random,
) -> Iterator[list[TrainingList]]:
    """A list for each question of each group."""
    answers: dict[str, list[str]] = {}
    for query in chance.sample(queries, len(queries)):
        answers.setdefault(relevant(collection, query)[0], []).append(query)
    asked = [
        Asked(d, shown(collection, d, own[0], given.words, miner), tuple(own[:MOST]))
        for d, own in answers.items()
    ]
    bm25 = BM25([one.shown for one in asked])
    groups = (nearest if given.hard else grouped)(source, collection, asked, bm25, chance)
    for group in islice(groups, given.hard):
        members = chance.sample([asked[i] for i in group], len(group))
        if len({one.shown for one in members}) == len(members):
            yield [
                taught(collection, query, members, miner)
                for one in members
                for query in one.questions
            ]


def grouped(
    source: str, collection: Collection, asked: Sequence[Asked], bm25: BM25, chance: Random
) -> Iterator[list[int]]:
    """Groups of passages, each in one: neighbours by a question, and random ones."""
    left = list(range(len(asked)))
    chance.shuffle(left)
    while len(left) >= SIZE:
        group = [left.pop()]
        ranked = first(bm25.scores(collection.queries[asked[group[0]].questions[0]]), len(asked))
        waiting = set(left)
        for wanted, order in ((1 + NEIGHBOURS, ranked), (SIZE, left)):
            for i in order:
                fits = len(group) < wanted and i in waiting
                if fits and not (source == "covidqa" and same_article(asked, i, group)):
                    group.append(i)
                    waiting.discard(i)
        if len(group) == SIZE:
            yield group
        left = [i for i in left if i in waiting]


def nearest(
    source: str, collection: Collection, asked: Sequence[Asked], bm25: BM25, chance: Random
) -> Iterator[list[int]]:
    """A group for each passage, with BM25's first for its question. A passage may be in many."""
    for start in chance.sample(range(len(asked)), len(asked)):
        group = [start]
        scores = bm25.scores(collection.queries[asked[start].questions[0]])
        for i in first(scores, len(asked)):
            if len(group) == SIZE:
                break
            if i not in group and not (source == "covidqa" and same_article(asked, i, group)):
                group.append(i)
        if len(group) == SIZE:
            yield group


def same_article(asked: Sequence[Asked], i: int, group: Sequence[int]) -> bool:
    """Whether a passage of COVID-QA is of the article of one in the group: it may answer too."""
    return article(asked[i].passage_id) in {article(asked[j].passage_id) for j in group}


def shown(collection: Collection, document: str, query: str, words: int, miner: Reranker) -> str:
    """The part of a passage that is most like a question, of ``words`` words at most."""
    text = str(collection.documents[document])
    title = getattr(collection.documents[document], "passage_title", "")
    parts = [
        first_words(" ".join(part), words)
        for part in chunks(sentences(text), words, Random(document))
    ]
    parts = [first_words(f"{title}. {text}" if title else text, words), *parts[1:]]
    return parts[miner.rank(collection.queries[query], parts).order[0]]


def taught(
    collection: Collection, query: str, members: Sequence[Asked], miner: Reranker
) -> TrainingList:
    """The list of a question, with the teacher's scores."""
    text, texts = collection.queries[query], tuple(one.shown for one in members)
    known = relevant(collection, query)
    judged = [one.passage_id in known for one in members]
    lexical = [float(score) for score in BM25(texts).scores(text)]
    scores = teacher_scores(similarities(miner, text, texts), lexical, judged)
    ids = tuple(one.passage_id for one in members)
    labels = tuple(map(float, judged))
    return TrainingList(text, texts, labels, query_id=query, ids=ids, teacher=tuple(scores))


if __name__ == "__main__":
    execute(main)
