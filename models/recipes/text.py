"""Sentences, passages and phrases of English text."""

import itertools
import re
from random import Random

SENTENCE_END = re.compile(r"(?<=[a-z0-9)%\]'\"][.!?])\s*(?=[A-Z(])")
PHRASE_END = re.compile(r"[.,;:()\[\]/]|\s-\s")
WORD = re.compile(r"^[A-Za-z][A-Za-z0-9'+-]*$")

# The second half are common words of scientific abstracts: no query is about them.
_STOP_WORDS = """
    a after also among an and are as at be been before between both but by can could did do does
    during each for from had has have how however if in into is is's it its may more most no not of
    on only or other our out over s so some such t than that the their them then there these they
    this those to under up use used using via was we were what when where whether which while who
    with within without would

    associated background compared conclusion conclusions data find found here methods objective
    report result results show showed shown shows significantly studies study suggest
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def first_words(text: str, count: int) -> str:
    """The first words of a text, joined by single spaces."""
    return " ".join(text.split()[:count])


def sentences(text: str) -> list[str]:
    """The sentences of four words and more."""
    return [s.strip() for s in SENTENCE_END.split(text) if len(s.split()) > 3]


def chunks(given: list[str], words: int, chance: Random) -> list[list[str]]:
    """Join sentences into passages of different lengths: from half of ``words`` to all of it."""
    made: list[list[str]] = []
    current: list[str] = []
    limit = chance.randint(words // 2, words)
    for sentence in given:
        if current and len(" ".join([*current, sentence]).split()) > limit:
            made.append(current)
            current = []
            limit = chance.randint(words // 2, words)
        current.append(sentence)
    return [*made, current] if current else made


def phrases(text: str, shortest: int = 2, longest: int = 4) -> list[str]:
    """Runs of content words: mostly noun phrases."""
    found = []
    for part in PHRASE_END.split(text):
        for content, run in itertools.groupby(part.split(), key=_is_content):
            words = list(run)
            if content and shortest <= len(words) <= longest:
                found.append(" ".join(words))
    return found


def _is_content(word: str) -> bool:
    return word.lower() not in STOP_WORDS and WORD.match(word) is not None
