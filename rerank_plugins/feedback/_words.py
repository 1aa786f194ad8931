"""`expand_query`: a query with the words of what a reranker liked, RM3 with its weights."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from .._checks import at_least, known_keys, listed, nearest_of, one_of, positive
from ..errors import InputError, UnknownNameError
from ._refine.opinion import Feedback, FloatArray, read_feedback
from ._refine.turn import trust_of

Form = Literal["rm3", "rocchio"]

UNTRUSTED = "the reranker's order looks random to the retriever and to the passages' words"
NO_WORDS = "the best passages hold no word that could be added"

_WORD = re.compile(r"[^\W_]+")
_LENGTHS = range(3, 31)
_WORDS = 100_000
"""Words of a passage that are read: a book need not be, and a hostile text must not cost more."""
_OWN = 100
"""Words of the query, with its copies, in an expanded one at most: search engines limit how many a
query may have, Lucene to 1024."""
_ROCCHIO = 0.2
"""The usual weight of what is not relevant, .15, beside .75 of what is."""

_FUNCTION_WORDS = """
    about above across after again against all almost alone along already also although always am
    among an and another any anyone anything are aren around as at away back be became because
    become been before behind being below beside besides between beyond both but by came can cannot
    come could did didn do does doesn doing don done down during each either else enough etc even
    ever every everyone everything few first for from further gave get give given go goes gone got
    had has hasn have haven having he hence her here hers herself him himself his how however if
    in indeed instead into is isn it its itself just keep kept last later least less let like
    likely made mainly make makes making many may maybe me mean means meanwhile might mine more
    moreover most mostly much must my myself near nearly need neither never nevertheless next no
    nobody none nor not nothing now of off often on once one ones only onto or other others
    otherwise ought our ours ourselves out over own per perhaps put quite rather really said same
    say says second see seem seemed seems seen several shall she should shouldn since so some
    somehow someone something sometimes soon still such take taken than that the their theirs them
    themselves then there therefore these they third this those though three through throughout
    thus to together too took toward towards two under unless until up upon us use used uses using
    usually various very via was wasn way we well went were weren what whatever when whenever where
    whereas whether which while who whole whom whose why will with within without won
    would wouldn yes yet you your yours yourself
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Function words of English. Those that query languages read as operators (and, or, not, near, to)
are among them, so that no expansion writes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    r"""Add the words of the best passages to a query.

    The reranker's (calibrated) scores ``y`` are the weights of the passages in RM3's mixture of
    their language models,

    .. math:: P(w) \propto \sum_d \max(y_d, 0) \, tf(w, d) / |d|

    over the best ``passages``, cut to its ``terms`` most probable words. The expanded query gives
    them ``share`` of its weight and leaves the rest to the query's own words.

    A reranker may be wrong, so the share is multiplied by a trust between 0 and 1, which is that of
    `Turn` with words in the place of vectors: the correlation of ``y`` with the retriever's
    scores, and the smoothness of ``y`` over the passages' words. Only passages that were reranked
    count for it.

    Args:
        terms: Words to add at most.
        passages: The number of best passages from which they come.
        share: Their share of the expanded query's weight, between 0 and 1.
        form: ``"rm3"``, or ``"rocchio"``: the mean of the best passages, minus a fifth of the mean
            of the others.
        doubt: The sum of both statistics up to which the query stays as it is; the trust rises from
            0 there to 1 at ``doubt + 1``. None to trust every reranker.

    Raises:
        InputError: An argument is out of range.

    Examples:
        >>> Words(terms=20, doubt=None)
        Words(terms=20, passages=10, share=0.4, form='rm3', doubt=None)
    """

    terms: int = 10
    passages: int = 10
    share: float = 0.4
    form: Form = "rm3"
    doubt: float | None = 1.0

    def __post_init__(self) -> None:
        at_least(1, terms=self.terms, passages=self.passages)
        one_of("form", self.form, get_args(Form))
        positive(share=self.share)
        if self.share >= 1:
            raise InputError(f"share is {self.share}, expected more than 0 and less than 1")
        at_least(-math.inf, none=True, doubt=self.doubt)


WORD_METHODS: dict[str, Words] = {
    "safe": Words(),
    "bold": Words(doubt=None),
    "rocchio": Words(form="rocchio"),
}
"""The methods by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """An expanded query, and how it came about.

    Attributes:
        query: The query to search with: words to add, then the query as it was. The same as before
            where ``skipped`` is not empty.
        terms: The weight of each word that was added, the heaviest first; they sum to 1.
        share: Their share of the expanded query's weight.
        trust: How far the reranker was trusted, from 0 to 1.
        skipped: Why nothing was added; empty if something was.
    """

    query: str
    terms: Mapping[str, float] = field(default_factory=dict)
    share: float = 0.0
    trust: float = 0.0
    skipped: str = ""


def expand_query(
    query: str,
    passages: Sequence[str],
    scores: Any = None,
    *,
    order: Any = None,
    found: Any = None,
    method: Any = "safe",
) -> Expansion:
    """Add the words to a query that tell what a reranker liked from the rest.

    The expanded query is a plain text for any search by words. A retriever counts a word as often
    as it stands there, so weights are written by repeating: of the added words, and of the query's
    own. Nothing but letters and digits is added, whatever the passages hold, and the query comes
    last, as it is: an added word can be no operand of what the query ends with.

    Args:
        query: The query of the first search.
        passages: The passages that it found, best first.
        scores: The reranker's scores of those passages, shape ``(n,)``: of any kind and scale,
            higher is better. NaN where a passage was not reranked: it counts as the lowest one.
        order: Positions in ``passages``, best first, of those that were reranked, where scores mean
            nothing.
        found: The retriever's scores of the passages, shape ``(n,)``; their order alone when None.
        method: ``"safe"``: `Words` as they are, which add less where the reranker's scores look
            random. ``"bold"``: without that test. ``"rocchio"``: Rocchio's form, for comparison.
            Or `Words` with other constants, or a mapping such as ``{"name": "safe", "terms": 20}``.

    Returns:
        The expanded query. Where nothing can be learned (fewer than two scores, equal scores, an
        infinite one) it is the query, and ``skipped`` says why.

    Raises:
        InputError: The lengths disagree.
        UnknownNameError: There is no such method.

    References:
        Lavrenko & Croft, Relevance-Based Language Models, SIGIR 2001; Abdul-Jaleel et al., UMass at
        TREC 2004 (RM3); Rocchio, Relevance Feedback in Information Retrieval, 1971.

    Examples:
        >>> texts = ["Fleas live for weeks.", "Fleas: their lifespan in weeks.", "Dogs.", "Cars."]
        >>> expanded = expand_query("old fleas", texts, [0.9, 0.8, 0.1, 0.0], method="bold")
        >>> list(expanded.terms)
        ['weeks', 'live', 'lifespan']
        >>> expanded.query.endswith(" old fleas")
        True
    """
    words = find_words(method)
    bags = [_bag(text) for text in listed("passages", passages)]
    own = -np.log(np.arange(1.0, len(bags) + 1)) if found is None else np.asarray(found, float)
    if own.shape != (len(bags),):
        raise InputError(f"found has {own.size} scores of {len(bags)} passages")
    feedback = read_feedback([1.0], own.reshape(-1, 1), scores, order)
    if feedback.skipped[0]:
        return Expansion(query=query, skipped=feedback.skipped[0])
    y = feedback.target()[0]
    trust = 1.0 if words.doubt is None else _trust(bags, feedback, words.doubt)
    if not trust:
        return Expansion(query=query, skipped=UNTRUSTED)
    weights = _term_weights(bags, y, words, known=set(words_of(query)))
    if not weights:
        return Expansion(query=query, trust=trust, skipped=NO_WORDS)
    share = words.share * trust
    written = written_query(query, weights, share)
    return Expansion(query=written, terms=weights, share=share, trust=trust)


def find_words(method: Any) -> Words:
    """Find the `Words` of a name, or return those that were given.

    Args:
        method: A name, `Words`, or a mapping of a ``name`` and constants to change.

    Raises:
        UnknownNameError: There is no such method for words.
        InputError: It is not a method, or has no such constant.

    Examples:
        >>> find_words({"name": "safe", "terms": 20}).terms
        20
    """
    if isinstance(method, Words):
        return method
    if isinstance(method, Mapping):
        changes = {name: value for name, value in method.items() if name != "name"}
        known_keys("the method", changes, [f.name for f in fields(Words)])
        return replace(find_words(str(method.get("name", "safe"))), **changes)
    if not isinstance(method, str):
        raise InputError(f"{method!r:.80} is not a method for words", hint="Give a name or Words.")
    if method not in WORD_METHODS:
        raise UnknownNameError(
            f"there is no method {method!r} for words", hint=nearest_of(method, WORD_METHODS)
        )
    return WORD_METHODS[method]


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case: runs of letters and digits.

    Examples:
        >>> words_of('title:"Fleas" -dog^2 OR snake_case')
        ['title', 'fleas', 'dog', '2', 'or', 'snake', 'case']
    """
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def written_query(query: str, terms: Mapping[str, float], share: float) -> str:
    """Write weights as a text in which words are repeated.

    The query's words are repeated until the added words have their share of the weight, to the
    nearest whole number.

    Args:
        query: The query.
        terms: Weights of the words to add, which sum to 1.
        share: The share of their weight, between 0 and 1.

    Examples:
        >>> written_query('a "flea"?', {"weeks": 0.75, "live": 0.25}, 0.5)
        'weeks weeks weeks live a flea a "flea"?'
    """
    own = words_of(query)
    ratio = share / (1 - share)
    needed = 2 * len(terms) / (ratio * max(1, len(own)))
    copies = max(1, min(math.ceil(needed), _OWN // max(1, len(own))))
    mass = ratio * copies * max(1, len(own))
    added = (word for word, w in terms.items() for _ in range(max(1, round(w * mass))))
    return " ".join((*added, *own * (copies - 1), query))


def _bag(text: str) -> Counter[str]:
    """The words of a text, with their numbers."""
    return Counter(words_of(text)[:_WORDS])


def _may_be_added(word: str) -> bool:
    return len(word) in _LENGTHS and word not in STOP_WORDS and not word.isdigit()


def _term_weights(
    bags: Sequence[Counter[str]], y: FloatArray, words: Words, known: set[str]
) -> dict[str, float]:
    """The weights of the words to add, which sum to 1; ties by the alphabet."""
    order = np.argsort(-y, kind="stable")
    best = [int(i) for i in order[: words.passages] if y[i] > 0]
    if words.form == "rm3":
        share = dict(zip(best, (y[best] / y[best].sum()).tolist(), strict=True))
    else:
        others = len(bags) - len(best)
        share = {i: -_ROCCHIO / others for i in range(len(bags)) if i not in best}
        share |= dict.fromkeys(best, 1 / len(best))
    found: dict[str, float] = {}
    for i, weight in share.items():
        length = bags[i].total()
        for word, count in bags[i].items():
            found[word] = found.get(word, 0.0) + weight * count / length
    new = ((w, p) for w, p in found.items() if p > 0 and w not in known and _may_be_added(w))
    top = sorted(new, key=lambda pair: (-pair[1], pair[0]))[: words.terms]
    total = sum(p for _, p in top)
    return {word: p / total for word, p in top}


def _trust(bags: Sequence[Counter[str]], feedback: Feedback, doubt: float) -> float:
    """The trust in a reranker, by the passages that it ranked.

    That those at the head of the list are better than the rest is the retriever's knowledge, and no
    evidence for the reranker.
    """
    ranked = np.flatnonzero(~np.isnan(feedback.ordered[0]))
    own = feedback.passages[0, ranked]
    scores = None if feedback.scores is None else feedback.scores[0, ranked]
    order = np.argsort(feedback.ordered[0, ranked], kind="stable") if scores is None else None
    alone = read_feedback([1.0], own, scores, order)
    if alone.skipped[0]:
        return 0.0
    return float(trust_of(alone, _gram([bags[i] for i in ranked.tolist()])[None], doubt)[0])


def _gram(bags: Iterable[Counter[str]]) -> FloatArray:
    """The inner products of passages as centred unit vectors of their words' tf-idf weights."""
    bags = [Counter({w: n for w, n in bag.items() if _may_be_added(w)}) for bag in bags]
    seen = Counter(word for bag in bags for word in bag)
    place = {word: i for i, word in enumerate(word for word, n in seen.items() if n > 1)}
    table = np.zeros((len(bags), len(place)), dtype=np.float32)
    for row, bag in zip(table, bags, strict=True):
        for word in bag.keys() & place.keys():
            row[place[word]] = (1 + math.log(bag[word])) * math.log(len(bags) / seen[word])
    size = np.linalg.norm(table, axis=1, keepdims=True)
    table /= np.where(size > 0, size, 1)
    table -= table.mean(axis=0)
    found: FloatArray = table @ table.T
    return found
