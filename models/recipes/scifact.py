"""SciFact: passages and queries from its abstracts, and its train claims."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from pool import Pool, filled
from text import chunks, phrases, sentences

from rerank_plugins._files import rows_of

PASSAGES_OF_AN_ABSTRACT = 2
LONGEST_CLAIM = 30  # words

ONE_PHRASE = (
    "what is {}",
    "{}",
    "define {}",
    "what are {}",
    "{} definition",
    "how does {} work",
    "what causes {}",
    "effects of {}",
    "why is {} important",
    "{} meaning",
    "what is the role of {}",
    "how is {} measured",
)
TWO_PHRASES = (
    "does {} affect {}",
    "{} {}",
    "{} and {}",
    "what is the relationship between {} and {}",
    "is {} related to {}",
    "how does {} affect {}",
    "{} in {}",
    "{} vs {}",
)


class Abstract(NamedTuple):
    """A document of the corpus."""

    key: str
    title: str
    text: str

    @property
    def full(self) -> str:
        return f"{self.title} {self.text}"


def abstracts(folder: Path) -> list[Abstract]:
    """The corpus with titles and texts apart, which `load_collection` would join."""
    [path, *_] = sorted(folder.glob("corpus.jsonl*"))  # plain, or .gz
    rows = rows_of(path)
    return [Abstract(row["_id"], row["title"], row["text"]) for _, row in rows]


def pool_of_abstracts(folder: Path, limit: int, words: int, chance: Random) -> Pool:
    """About ``limit`` passages of abstracts in random order, with queries."""
    pool = Pool()
    documents = abstracts(folder)
    chance.shuffle(documents)
    for document in documents:
        if len(pool.passages) >= limit:
            break
        found = sentences(document.text)
        if len(found) >= 3:
            _add(pool, document, chunks(found, words, chance), chance)
    return pool


def _add(pool: Pool, document: Abstract, parts: list[list[str]], chance: Random) -> None:
    count = min(PASSAGES_OF_AN_ABSTRACT, len(parts))
    chosen = sorted(chance.sample(range(len(parts)), count))
    for i in chosen:
        key = f"sf-{document.key}-{i}"
        pool.passages[key] = " ".join(parts[i])
        pool.ask(key, _phrase_queries(pool.passages[key], chance))
        pool.ask(key, _claims(parts, i, chance))
    if title := document.title.rstrip("."):
        query = _title_query(title, chance)
        pool.ask(f"sf-{document.key}-{chance.choice(chosen)}", [query])


def _phrase_queries(passage: str, chance: Random) -> Iterator[str]:
    """Queries in the words of web searches about one phrase, and about two."""
    found = phrases(passage)
    if found:
        phrase = chance.choice(found)
        is_name = any(letter.isupper() for letter in phrase[1:])
        yield filled(ONE_PHRASE, chance, phrase if is_name else phrase.lower())
    if len(found) > 1:
        first, second = chance.sample(found, 2)
        query = filled(TWO_PHRASES, chance, first, second)
        yield query if chance.random() < 0.3 else query.lower()


def _claims(parts: list[list[str]], i: int, chance: Random) -> Iterator[str]:
    """A sentence of the abstract beside the passage, or else one of the passage itself."""
    beside = [
        sentence
        for j, part in enumerate(parts)
        if j != i
        for sentence in part
        if 6 <= len(sentence.split()) <= LONGEST_CLAIM
    ]
    if beside and chance.random() < 0.6:
        yield chance.choice(beside)
    elif len(parts[i]) > 1:
        sentence = chance.choice(parts[i])
        if len(sentence.split()) <= LONGEST_CLAIM:
            yield sentence


def _title_query(title: str, chance: Random) -> str:
    low = title.lower()
    return chance.choice((title, low, low, f"what is known about {low}", f"{low}?"))
