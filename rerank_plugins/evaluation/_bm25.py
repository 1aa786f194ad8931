"""BM25 over texts, by ``bm25s``: a first stage from nothing."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from .._checks import at_least, listed
from .._extras import extra
from ..calls import Batch, Call, Hit, Replies, Reply, Search
from ..errors import InputError, UnsupportedCallError
from ._collection import Collection

K1, B, STEMMER, STOP_WORDS = 0.9, 0.4, "english", "english"


def bm25_settings() -> dict[str, Any]:
    """Everything but the texts that decides what `bm25_scores` finds.

    Raises:
        MissingExtraError: ``bm25s`` is not installed.
    """
    settings = {"k1": K1, "b": B, "stemmer": STEMMER, "stop_words": STOP_WORDS}
    return settings | {"bm25s": bm25s_package().__version__}


def bm25s_package() -> Any:
    """The package. It starts JAX where that is installed, which then keeps most of a GPU's memory.

    Raises:
        MissingExtraError: ``bm25s`` is not installed.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return extra("bm25s", "evaluation")


class BM25Index:
    """Passages that are searched with BM25: k1 0.9 and b 0.4, as Lucene computes it.

    A backend for `Search` calls that have a text. Words are stemmed by Snowball's English stemmer
    (Porter's second one) and English stop words are left out. A word that a query repeats counts as
    often as it stands there. The whole index is in memory. One instance serves many threads.

    Args:
        texts: The passages.
        ids: One for each text, distinct; its number, from "0", when None.

    Raises:
        InputError: Ids and texts are not equally many, or an id repeats.
        MissingExtraError: ``bm25s`` or ``PyStemmer`` is not installed.

    References:
        Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; Lù,
        BM25S, arXiv:2407.03618, 2024; k1 and b as in Yang, Fang & Lin, Anserini, SIGIR 2017.

    Examples:
        >>> index = BM25Index.build(["A flea lives for weeks", "Cats sleep", "Wolves hunt"])
        >>> [hit.text for hit in index.search("How long do fleas live?", 10)]
        ['A flea lives for weeks']
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({Search})

    def __init__(self, texts: Iterable[str], ids: Iterable[str] | None = None) -> None:
        self.texts = tuple(listed("texts", texts))
        self.ids = tuple(map(str, range(len(self.texts))) if ids is None else ids)
        if len(set(self.ids)) < len(self.ids) or len(self.ids) != len(self.texts):
            raise InputError(
                f"there are {len(set(self.ids))} different ids of {len(self.texts)} texts",
                hint="Give one of its own for each text.",
            )
        bm25s = bm25s_package()
        stemmer = extra("Stemmer", "evaluation").Stemmer(STEMMER)
        words = {"stopwords": STOP_WORDS, "stemmer": stemmer, "show_progress": False}
        self._tokenize: Callable[..., Any] = partial(bm25s.tokenize, **words)
        tokens = self._tokenize(list(map(str, self.texts)))
        self._index: Any = None
        if any(tokens.ids):  # not nothing but stop words
            self._index = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
            self._index.index(tokens, show_progress=False)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"BM25Index({len(self)} passages)"

    @classmethod
    def build(cls, texts: Iterable[str], *, ids: Iterable[str] | None = None) -> "BM25Index":
        """Index texts: the constructor, under the name that `FaissIndex` has for it."""
        return cls(texts, ids)

    def search(self, query: str, k: int) -> tuple[Hit, ...]:
        """The best passages of those that share a word with the query, best first.

        Args:
            query: Any text.
            k: How many at most.

        Raises:
            InputError: ``k`` is not positive.
        """
        return self.search_many([query], k)[0]

    def search_many(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """`search` for each query. Equal scores come in the order of the texts."""
        at_least(1, k=k)
        if self._index is None or not queries:
            return [() for _ in queries]
        asked = self._tokenize(list(queries), return_ids=False)
        places, values = self._index.retrieve(
            asked, k=min(k, len(self)), show_progress=False, backend_selection="numpy"
        )
        return [self._hits(*row) for row in zip(places, values, strict=True)]

    def run(self, calls: Batch) -> Replies:
        """Answer `Search` calls by their texts."""
        for call in calls:
            if not isinstance(call, Search) or call.vector:
                name = type(call).__name__
                raise UnsupportedCallError(
                    f"a BM25Index searches by words, and cannot answer this {name}",
                    hint="Use expand='words', or an index of vectors such as FaissIndex.",
                )
        return [Reply(self.search(call.text, call.k)) for call in calls]  # type: ignore[attr-defined]

    def _hits(self, places: Any, values: Any) -> tuple[Hit, ...]:
        pairs = sorted((-float(v), int(i)) for i, v in zip(places, values, strict=True) if v > 0)
        return tuple(Hit(self.ids[i], self.texts[i], score=-negated) for negated, i in pairs)


def bm25_scores(collection: Collection, *, depth: int = 1000) -> dict[str, dict[str, float]]:
    """Search all queries of a collection with a `BM25Index`.

    Args:
        collection: Documents and queries.
        depth: Documents of each query at most, from 1.

    Returns:
        Scores by query id and document id, best first, equal scores in the collection's order.
        Documents that share no word with the query are not found; a query of which no word is in
        any document has an empty entry.

    Raises:
        InputError: ``depth`` is not positive.
        MissingExtraError: ``bm25s`` or ``PyStemmer`` is not installed.

    Examples:
        >>> texts = {"a": "A flea lives for weeks", "b": "Cats sleep", "c": "Wolves hunt"}
        >>> pets = Collection(documents=texts, queries={"q": "How long do fleas live?"}, qrels={})
        >>> list(bm25_scores(pets)["q"])
        ['a']
    """
    at_least(1, depth=depth)
    index = BM25Index(collection.documents.values(), collection.documents)
    found = index.search_many(list(collection.queries.values()), depth)
    return {
        query: {hit.id: hit.score or 0.0 for hit in hits}
        for query, hits in zip(collection.queries, found, strict=True)
    }
