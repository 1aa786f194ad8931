"""Passages of every source, and the questions that are known about them.

A source's questions are mined among its own passages: what competes with a passage of a manual are
other passages of manuals, not abstracts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from licences import LICENCES, licence_of
from questions_data import SOURCES, article, is_held_out
from scifact import abstracts
from wordnet import pool_of_concepts

from rerank_plugins._files import rows_of
from rerank_plugins.evaluation import Collection, load_collection
from rerank_plugins.training.data import TrainingList

CONCEPTS = 3000  # of WordNet
LARGE = 700  # passages of a manual that stands alone
LEAST_WORDS = 40  # of an abstract whose title is asked for
JUDGED = ("covidqa", "pubmedqa", "scifact")
KINDS = (*JUDGED, "titles", "wordnet", "manuals")


@dataclass(frozen=True)
class Question:
    """A question, and the passages that are known to answer it.

    Attributes:
        key: Its id.
        text: The question, claim, title or phrase.
        relevant: Ids of passages.
        judged: Whether a person said so; else the question was made from the passage.
    """

    key: str
    text: str
    relevant: tuple[str, ...]
    judged: bool = False


@dataclass(frozen=True)
class Source:
    """Passages that compete with each other, each with its licence, and questions about them."""

    name: str
    passages: dict[str, str]
    licences: dict[str, str]
    questions: list[Question] = field(default_factory=list)


def of_one_licence(
    name: str, licence: str, passages: dict[str, str], questions: list[Question]
) -> Source:
    """A source whose passages have the same licence."""
    return Source(name, passages, dict.fromkeys(passages, licence), questions)


def sources(
    data: Path,
    wordnet: Path | None,
    manuals: Path | None,
    seed: int,
    only: Sequence[str] | None = None,
) -> list[Source]:
    """Every source, or some kinds; of the judged ones without the questions that are held out."""
    kinds = only or KINDS
    found = [judged(name, data) for name in JUDGED if name in kinds]
    if "titles" in kinds:
        found.append(titles(data))
    if wordnet and "wordnet" in kinds:
        pool = pool_of_concepts(wordnet, CONCEPTS, Random(seed))
        asked = [
            Question(f"wordnet-{i}", text, (key,)) for i, (text, key) in enumerate(pool.queries)
        ]
        found.append(of_one_licence("wordnet", LICENCES["wordnet"], dict(pool.passages), asked))
    if manuals and "manuals" in kinds:
        found += documents(manuals)
    return found


def judged(name: str, data: Path) -> Source:
    """A collection with its train questions."""
    collection = load_collection(data / SOURCES[name], split="train")
    passages = {key: str(text) for key, text in collection.documents.items()}
    if name == "covidqa":  # nothing is asked about the articles that are held out
        passages = {key: text for key, text in passages.items() if not article_is_held_out(key)}
    if name == "scifact":
        passages = {one.key: one.full for one in abstracts(data / SOURCES[name])}
    return of_one_licence(name, LICENCES[name], passages, list(_kept(name, collection)))


def article_is_held_out(passage: str) -> bool:
    """Whether the questions about a passage's article choose between models."""
    one = TrainingList("x", ("",), (0,), query_id=f"q-{article(passage)}")
    return is_held_out("covidqa", one)


def _kept(name: str, collection: Collection) -> Iterator[Question]:
    for query, grades in collection.qrels.items():
        relevant = tuple(d for d, g in grades.items() if g > 0 and d in collection.documents)
        text = str(collection.queries[query])
        if relevant and not is_held_out(name, TrainingList(text, ("",), (0,), query_id=query)):
            yield Question(f"{name}-{query}", text, relevant, judged=True)


def titles(data: Path) -> Source:
    """SciFact's abstracts without their titles, which are the questions."""
    long = [
        one
        for one in abstracts(data / SOURCES["titles"])
        if one.title and len(one.text.split()) > LEAST_WORDS
    ]
    asked = [Question(f"title-{one.key}", one.title, (f"t{one.key}",)) for one in long]
    texts = {f"t{one.key}": one.text for one in long}
    return of_one_licence("titles", LICENCES["titles"], texts, asked)


def documents(path: Path) -> list[Source]:
    """The passages of ``manuals.py``, with headings as questions; small manuals stand together."""
    rows = list(rows_of(path))
    sizes = Counter(row["source"] for _, row in rows)
    found: dict[str, Source] = {}
    for number, row in rows:
        name = row["source"] if sizes[row["source"]] >= LARGE else "small manuals"
        source = found.setdefault(name, Source(name, {}, {}))
        key = row["_id"]
        source.passages[key], source.licences[key] = row["text"], licence_of(row, number, path)
        if len(row.get("title", "").split()) > 1:
            source.questions.append(Question(f"head-{key}", row["title"], (key,)))
    return list(found.values())
