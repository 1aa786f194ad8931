"""WordNet: passages that describe a concept, and queries about it.

The files' format is that of ``wndb(5WN)``.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from pool import Pool, filled

FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj"}
SHARE_OF_NOUNS = 0.85

# Pointers' symbols.
BROADER, NARROWER, INSTANCE_OF, INSTANCES, PARTS, WHOLES = "@", "~", "@i", "~i", "%p", "#p"

# Sentences of a passage.
DEFINITION = ("{}: {}.", "{} is {}.", "{} - {}.", "{} refers to {}.", "{}, {}.")
SYNONYMS = ("Also called {}.", "It is also known as {}.", "Synonyms: {}.")
KINDS = (
    "Types of {} include {}.",
    "Kinds of {}: {}.",
    "There are several kinds of {}, such as {}.",
)
HAS_PARTS = ("Its parts include {}.", "It consists of {}.", "Parts: {}.")

# Queries.
ABOUT_A_VERB = (
    "what does it mean to {}",
    "define {}",
    "{} meaning",
    "what is the meaning of {}",
    "how to {}",
    "{} definition",
)
ABOUT_A_PERSON = (
    "who was {}",
    "who is {}",
    "when was {} born",
    "what is {} known for",
    "{}",
    "when did {} die",
)
ABOUT_A_PLACE = (
    "where is {}",
    "what is {}",
    "{} location",
    "what country is {} in",
    "{}",
    "where is {} located",
)
ABOUT_A_NOUN = (
    "what is {}",
    "what is a {}",
    "define {}",
    "{} definition",
    "what does {} mean",
    "what are {}",
    "{} meaning",
    "what is the definition of {}",
    "{}",
    "what is the meaning of {}",
    "definition of a {}",
    "what {} is",
    "where is {} found",
    "what is {} used for",
    "what causes {}",
)
WHICH_KINDS = (
    "types of {}",
    "what are the types of {}",
    "kinds of {}",
    "different types of {}",
    "examples of {}",
    "list of {}",
    "how many kinds of {} are there",
)
WHICH_PARTS = (
    "parts of {}",
    "what is {} made of",
    "what are the parts of a {}",
    "what is in {}",
)
WHICH_WHOLE = ("what is {} part of", "where is the {}", "what contains {}")
OF_WHICH_KIND = (
    "is {} a {}",
    "is a {} a kind of {}",
    "{} {}",
    "what type of {1} is {0}",
    "what kind of {1} is {0}",
)
WHICH_WORD = (
    "{}",
    "what is the word for {}",
    "what do you call {}",
    "which term means {}",
    "name of {}",
)
DIFFERENCE = (
    "difference between {} and {}",
    "{} vs {}",
    "what is the difference between a {} and a {}",
)

Key = tuple[str, str]  # part of speech and offset


class Synset(NamedTuple):
    """Words of one meaning."""

    lemmas: list[str]
    gloss: str
    pointers: dict[str, list[Key]]

    @property
    def name(self) -> str:
        return self.lemmas[0]

    @property
    def definition(self) -> str:
        return re.split(r';\s*"', self.gloss)[0].strip()

    @property
    def examples(self) -> list[str]:
        return re.findall(r'"([^"]{15,})"', self.gloss)


WordNet = dict[Key, Synset]


@dataclass
class Concept:
    """A synset with its neighbours.

    Attributes:
        synset: The concept's synset.
        kind: Its part of speech.
        broader: The synsets that it is a kind or an instance of.
        narrower: Its kinds and instances.
        kinds: Their names, in the order in which the passage gives them.
        parts: Names of its parts.
        wholes: Names of what it is part of.
    """

    synset: Synset
    kind: str
    broader: list[Synset]
    narrower: list[Synset]
    kinds: list[str]
    parts: list[str]
    wholes: list[str]


def read(folder: Path) -> WordNet:
    """The synsets of nouns, verbs and adjectives."""
    found = {}
    for kind, name in FILES.items():
        for line in (folder / name).read_text(encoding="latin-1").split("\n"):
            if line and not line.startswith("  "):  # the licence
                offset, synset = _parsed(line)
                found[kind, offset] = synset
    return found


def _parsed(line: str) -> tuple[str, Synset]:
    """The offset and the synset of ``offset file type words (word id)... pointers ... | gloss``."""
    head, _, gloss = line.partition("|")
    fields = head.split()
    words = int(fields[3], 16)
    lemmas = [re.sub(r"\(.*\)$", "", fields[4 + 2 * i]).replace("_", " ") for i in range(words)]
    at = 4 + 2 * words
    pointers: dict[str, list[Key]] = defaultdict(list)
    for i in range(int(fields[at])):
        symbol, offset, kind, _ = fields[at + 1 + 4 * i : at + 5 + 4 * i]
        pointers[symbol].append((kind, offset))
    return fields[0], Synset(lemmas, gloss.strip(), pointers)


def pool_of_concepts(folder: Path, limit: int, chance: Random) -> Pool:
    """About ``limit`` passages, each about a concept, with queries."""
    wordnet = read(folder)
    pool = Pool()
    for key in _chosen(wordnet, limit, chance):
        concept = _concept(wordnet, key)
        name = f"wn-{''.join(key)}"
        pool.passages[name] = " ".join(_passage(concept, chance))
        pool.ask(name, _queries(concept, chance))
    return pool


def _chosen(wordnet: WordNet, limit: int, chance: Random) -> list[Key]:
    """Nouns with a long entry and some of their kinds, which are hard negatives; then verbs."""
    nouns = [key for key in wordnet if key[0] == "n" and _is_rich(wordnet[key])]
    verbs = [k for k in wordnet if k[0] == "v" and len(wordnet[k].definition.split()) > 4]
    chance.shuffle(nouns)
    chance.shuffle(verbs)
    chosen: dict[Key, None] = {}
    for key in nouns:
        if len(chosen) >= limit * SHARE_OF_NOUNS:
            break
        group = [key, *wordnet[key].pointers[NARROWER][:2]]
        chosen.update(dict.fromkeys(k for k in group if k in wordnet))
    return [*chosen, *verbs[: int(limit * (1 - SHARE_OF_NOUNS))]]


def _is_rich(synset: Synset) -> bool:
    has = synset.pointers
    related = len(has[NARROWER]) >= 2 or has[PARTS] or has[INSTANCE_OF]
    return bool(related) or len(synset.definition.split()) > 12


def _concept(wordnet: WordNet, key: Key) -> Concept:
    synset = wordnet[key]

    def related(*symbols: str) -> list[Synset]:
        keys = [k for symbol in symbols for k in synset.pointers[symbol]]
        return [wordnet[k] for k in keys if k in wordnet]

    narrower = related(NARROWER, INSTANCES)
    return Concept(
        synset,
        key[0],
        broader=related(BROADER, INSTANCE_OF),
        narrower=narrower,
        kinds=[kind.name for kind in narrower],
        parts=[part.name for part in related(PARTS)],
        wholes=[whole.name for whole in related(WHOLES)],
    )


def _passage(concept: Concept, chance: Random) -> Iterator[str]:
    """The sentences of a concept's passage."""
    yield from _meaning(concept, chance)
    for example in concept.synset.examples[:2]:
        yield f"{_capital(example)}."
    yield from _relations(concept, chance)


def _meaning(concept: Concept, chance: Random) -> Iterator[str]:
    synset = concept.synset
    if chance.random() < 0.85:
        yield filled(DEFINITION, chance, _capital(synset.name), synset.definition)
    else:
        yield f"{_capital(synset.definition)}."
    if len(synset.lemmas) > 1 and chance.random() < 0.6:
        yield filled(SYNONYMS, chance, ", ".join(synset.lemmas[1:4]))
    if concept.broader and chance.random() < 0.7:
        broader = concept.broader[0]
        more = f", {broader.definition}" if chance.random() < 0.6 else ""
        yield f"It is a kind of {broader.name}{more}."


def _relations(concept: Concept, chance: Random) -> Iterator[str]:
    if concept.kinds and chance.random() < 0.8:
        chance.shuffle(concept.kinds)
        yield filled(KINDS, chance, concept.synset.name, ", ".join(concept.kinds[:6]))
    if concept.parts and chance.random() < 0.8:
        yield filled(HAS_PARTS, chance, ", ".join(concept.parts[:6]))
    if concept.wholes and chance.random() < 0.6:
        yield f"It is part of {concept.wholes[0]}."
    if concept.narrower and chance.random() < 0.5:
        example = concept.narrower[0]
        yield f"For example, {example.name} is {example.definition}."


def _queries(concept: Concept, chance: Random) -> Iterator[str]:
    word = chance.choice(concept.synset.lemmas)
    yield filled(_templates(concept), chance, word).lower()
    yield from _questions_of_relations(concept, word, chance)
    definition = concept.synset.definition.split()
    if chance.random() < 0.35 and len(definition) > 4:
        yield filled(WHICH_WORD, chance, " ".join(definition[:16])).lower()
    if len(concept.kinds) > 1 and chance.random() < 0.25:
        yield filled(DIFFERENCE, chance, *concept.kinds[:2]).lower()
    for example in concept.synset.examples[:1]:
        if chance.random() < 0.1:
            yield example


def _templates(concept: Concept) -> tuple[str, ...]:
    if concept.kind == "v":
        return ABOUT_A_VERB
    if not concept.synset.pointers[INSTANCE_OF]:
        return ABOUT_A_NOUN
    # A year in the definition: a person who lived then. Most other instances are places.
    year = re.search(r"\b(1\d{3}|20\d\d)\b", concept.synset.definition)
    return ABOUT_A_PERSON if year else ABOUT_A_PLACE


def _questions_of_relations(concept: Concept, word: str, chance: Random) -> Iterator[str]:
    if len(concept.kinds) > 2 and chance.random() < 0.6:
        yield filled(WHICH_KINDS, chance, word).lower()
    if concept.parts and chance.random() < 0.8:
        yield filled(WHICH_PARTS, chance, word).lower()
    if concept.wholes and chance.random() < 0.5:
        yield filled(WHICH_WHOLE, chance, word).lower()
    if concept.broader and chance.random() < 0.3:
        yield filled(OF_WHICH_KIND, chance, word, concept.broader[0].name).lower()


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
