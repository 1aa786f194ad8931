"""BM25 over a collection, by ``bm25s``: a first stage from nothing."""

from typing import Any

from .._checks import at_least
from .._extras import extra
from ._collection import Collection

K1, B, STEMMER, STOP_WORDS = 0.9, 0.4, "english", "english"


def bm25_settings() -> dict[str, Any]:
    """Everything but the texts that decides what `bm25_scores` finds.

    Raises:
        MissingExtraError: ``bm25s`` is not installed.
    """
    settings = {"k1": K1, "b": B, "stemmer": STEMMER, "stop_words": STOP_WORDS}
    return settings | {"bm25s": extra("bm25s", "evaluation").__version__}


def bm25_scores(collection: Collection, *, depth: int = 1000) -> dict[str, dict[str, float]]:
    """Search all queries of a collection with BM25: k1 0.9 and b 0.4, as Lucene computes it.

    Words are stemmed by Snowball's English stemmer (Porter's second one) and English stop words are
    left out. The whole collection is indexed in memory.

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

    References:
        Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; Lù,
        BM25S, arXiv:2407.03618, 2024; k1 and b as in Yang, Fang & Lin, Anserini, SIGIR 2017.

    Examples:
        >>> texts = {"a": "A flea lives for weeks", "b": "Cats sleep", "c": "Wolves hunt"}
        >>> pets = Collection(documents=texts, queries={"q": "How long do fleas live?"}, qrels={})
        >>> list(bm25_scores(pets)["q"])
        ['a']
    """
    at_least(1, depth=depth)
    bm25s = extra("bm25s", "evaluation")
    stemmer = extra("Stemmer", "evaluation").Stemmer(STEMMER)
    words = {"stopwords": STOP_WORDS, "stemmer": stemmer, "show_progress": False}
    texts = bm25s.tokenize(list(collection.documents.values()), **words)
    if not any(texts.ids):  # nothing but stop words
        return {query: {} for query in collection.queries}
    index = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
    index.index(texts, show_progress=False)
    asked = bm25s.tokenize(list(collection.queries.values()), return_ids=False, **words)
    ids = list(collection.documents)
    places, values = index.retrieve(
        asked, k=min(depth, len(ids)), show_progress=False, backend_selection="numpy"
    )
    found = {}
    for query, row, scores in zip(collection.queries, places, values, strict=True):
        pairs = [(-float(s), int(i)) for i, s in zip(row, scores, strict=True) if s > 0]
        found[query] = {ids[i]: -negated for negated, i in sorted(pairs)}
    return found
