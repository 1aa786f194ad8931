"""`FaissIndex`: a FAISS index with ids, texts and vectors, which answers `Search` calls."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from functools import cached_property
from itertools import groupby, islice, repeat
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..._checks import at_least, one_of, some_of
from ..._threads import renewed_by_forks
from ...backends import TokenVectors
from ...calls import Batch, Call, Hit, Replies, Reply, Search
from ...errors import ConfigurationError, InputError, UnsupportedCallError
from ...text import Passage
from .._refine import FloatArray
from . import storage
from .gpus import find_faiss, inverted_lists, on_cpu, on_gpu, to_gpus

Metric = Literal["ip", "l2"]
Places = NDArray[np.int64]

# FAISS's indexes on GPUs are not safe to search from several threads.
_TURN = renewed_by_forks(threading.Lock())


class FaissIndex:
    """Passages in a FAISS index: flat, HNSW, IVF, PQ or another, by inner product or L2.

    A backend for `Search` calls. Vectors of hits are read back from the index (of a compressed
    one, approximately). One instance serves many threads for searching.

    On a GPU (`to_gpu`) the index only searches: vectors are read from its copy on the CPU.

    Args:
        index: A filled FAISS index, on the CPU or on GPUs. Its positions are those of ``ids``.
        ids: One for each vector, distinct.
        texts: One for each vector, for the reranker.
        vectors: The vectors themselves, shape ``(n, dim)``, kept beside an index that cannot give
            them back or only approximately.
        tokens: The token vectors of the texts (`LateInteractionBackend.prepare`), kept and saved
            beside them: ``LateInteractionBackend(model, prepared=index.tokens)`` reranks the hits
            without encoding them again.

    Raises:
        MissingExtraError: FAISS is not installed.
        InputError: Lengths disagree, ids repeat, the metric is neither of the two, or ``tokens``
            has another type.
        ConfigurationError: The index cannot give vectors back, and there are none beside it. Or
            two packages of FAISS are installed.

    Examples:
        >>> index = FaissIndex.build(np.eye(3), ids=["a", "b", "c"], texts=["one", "two", "three"])
        >>> [hit.id for hit in index.search([0.1, 0.9, 0.2], k=2)]
        ['b', 'c']
        >>> index.search([0.1, 0.9, 0.2], k=1)[0].vector.tolist()
        [0.0, 1.0, 0.0]
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({Search})

    def __init__(
        self,
        index: Any,
        *,
        ids: Iterable[str],
        texts: Iterable[str],
        vectors: Any = None,
        tokens: TokenVectors | None = None,
    ) -> None:
        faiss = find_faiss()
        if tokens is not None and not isinstance(tokens, TokenVectors):
            raise InputError(
                f"tokens is of type {type(tokens).__name__}",
                hint="Give what LateInteractionBackend.prepare returned.",
            )
        self.index, self.tokens = index, tokens
        self.ids, self.texts = tuple(ids), tuple(texts)
        _check_passages(index, self.ids, self.texts)
        metrics: dict[int, Metric] = {faiss.METRIC_INNER_PRODUCT: "ip", faiss.METRIC_L2: "l2"}
        if index.metric_type not in metrics:
            raise InputError(
                f"the index's metric is {index.metric_type}, expected inner product or L2 distance"
            )
        self.metric: Metric = metrics[index.metric_type]
        self.vectors = None if vectors is None else _matrix(vectors)
        self._kept = index if vectors is not None else on_cpu(index)  # gives vectors, and is saved
        if self.vectors is None:
            _check_reconstructs(self._kept)
        elif self.vectors.shape != (index.ntotal, index.d):
            raise InputError(
                f"vectors has shape {self.vectors.shape}, and the index holds "
                f"{(index.ntotal, index.d)}"
            )

    @classmethod
    def build(
        cls,
        vectors: Any,
        *,
        ids: Iterable[str],
        texts: Iterable[str],
        factory: str = "Flat",
        metric: Metric = "ip",
        tokens: TokenVectors | None = None,
    ) -> "FaissIndex":
        """Index vectors.

        Args:
            vectors: Shape ``(n, dim)``. For cosine similarity, normalise them to length 1.
            ids: As for the class.
            texts: As for the class.
            factory: The kind of index, as FAISS names it: ``"Flat"``, ``"HNSW32"``,
                ``"IVF256,Flat"``, ``"IVF256,PQ48"``, ... It is trained on the vectors if needed.
            metric: ``"ip"`` (inner product) or ``"l2"``.
            tokens: As for the class.

        Raises:
            MissingExtraError: FAISS is not installed.
            InputError: Lengths disagree, ids repeat, or FAISS cannot build that.
        """
        faiss = find_faiss()
        one_of("metric", metric, ("ip", "l2"))
        table = _matrix(vectors)
        kind = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
        try:
            index = faiss.index_factory(table.shape[1], factory, kind)
            if not index.is_trained:
                index.train(table)
            index.add(table)
        except RuntimeError as error:
            raise InputError(f"FAISS cannot build {factory!r} of {table.shape}: {error}") from error
        if (lists := inverted_lists(index)) is not None:
            lists.make_direct_map()
        return cls(index, ids=ids, texts=texts, tokens=tokens)

    @cached_property
    def _places(self) -> dict[str, int]:
        """The position of each id, for those who ask by id."""
        return {key: i for i, key in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        kind = type(self.index).__name__
        return f"FaissIndex({kind}, {len(self)} passages, {self.index.d} dimensions, {self.metric})"

    def search(self, vector: Any, k: int) -> tuple[Hit, ...]:
        """The nearest passages, best first.

        Args:
            vector: Shape ``(dim,)``.
            k: How many; fewer are returned if the index holds (or visits) fewer.

        Raises:
            InputError: The vector has another dimension or is not finite, or k is not positive.
        """
        return self.search_many([vector], k)[0]

    def search_many(self, vectors: Any, k: int) -> list[tuple[Hit, ...]]:
        """`search` for each row of ``vectors``, shape ``(n, dim)``, in one call of FAISS."""
        places, scores = self.nearest(vectors, k)
        found = places >= 0
        hits = iter(self._hits(places[found].tolist(), scores[found].tolist()))
        return [tuple(islice(hits, n)) for n in found.sum(axis=1).tolist()]

    def nearest(self, vectors: Any, k: int) -> tuple[Places, FloatArray]:
        """The nearest passages of many queries, as arrays: for thousands of queries at once.

        With `vectors_at` and `refine_query`, a batch is searched, refined and searched again in
        arrays alone.

        Args:
            vectors: Shape ``(n, dim)``.
            k: As for `search`.

        Returns:
            Positions in ``ids`` and scores, best first, both of shape ``(n, k)``, or ``(n,
            len(index))`` where that is less. A row with fewer hits ends with -1 and NaN.

        Raises:
            InputError: As for `search`, or FAISS refuses (GPUs find 2,048 passages at most).

        Examples:
            >>> from rerank_plugins.feedback import refine_query
            >>> index = FaissIndex.build(np.eye(3), ids=["a", "b", "c"], texts=["1", "2", "3"])
            >>> queries = np.array([[0.1, 0.9, 0.2], [0.8, 0.1, 0.3]])
            >>> places, scores = index.nearest(queries, k=2)
            >>> places.tolist()
            [[1, 2], [0, 2]]
            >>> teacher = [[0.2, 0.9], [0.1, 0.7]]  # a reranker prefers the second hit of each
            >>> refined = refine_query(queries, index.vectors_at(places), teacher)
            >>> index.nearest(refined.vector, k=1)[0].tolist()
            [[1], [0]]
        """
        at_least(1, k=k)
        self._check_unchanged()
        table = _matrix(vectors)
        if table.shape[1] != self.index.d:
            raise InputError(
                f"the query has {table.shape[1]} dimensions and the index has {self.index.d}",
                hint="Both must come from the same embedding model.",
            )
        k = min(k, len(self))
        if not k:
            return np.empty((len(table), 0), np.int64), np.empty((len(table), 0), np.float32)
        try:
            with _TURN if on_gpu(self.index) else nullcontext():
                scores, places = self.index.search(table, k)
        except RuntimeError as error:
            raise InputError(f"FAISS cannot find {k} passages of each query: {error}") from error
        sign = 1 if self.metric == "ip" else -1  # a distance is better when it is smaller
        return places, np.where(places >= 0, sign * scores, np.float32(np.nan))

    def vectors_at(self, places: Any) -> FloatArray:
        """Vectors of passages, read in one go.

        Args:
            places: Positions in ``ids``, of any shape, as `nearest` gives them.

        Returns:
            Shape ``(*places.shape, dim)``; NaN where a position is -1.

        Raises:
            InputError: A position is out of range.
        """
        wanted = np.asarray(places, dtype=np.int64)
        if wanted.size and not -1 <= wanted.min() <= wanted.max() < len(self):
            raise InputError(f"a position is out of range: the index holds {len(self)} passages")
        table = np.full((*wanted.shape, self.index.d), np.nan, dtype=np.float32)
        table[wanted >= 0] = self._rows(wanted[wanted >= 0])
        return table

    def hits(self, ids: Iterable[str]) -> tuple[Hit, ...]:
        """Passages as hits without a score: what another first stage, such as BM25, found here.

        Raises:
            InputError: The index does not hold one of them.
        """
        wanted = list(ids)
        if missing := [key for key in wanted if key not in self._places]:
            raise InputError(f"the index does not hold {some_of(map(repr, missing))}")
        return tuple(self._hits([self._places[key] for key in wanted]))

    def run(self, calls: Batch) -> Replies:
        """Answer `Search` calls: those with the same number of hits in one call of FAISS."""
        for call in calls:
            if not isinstance(call, Search):
                raise UnsupportedCallError(f"an index cannot answer a {type(call).__name__}")
            if call.text and not call.vector:
                raise UnsupportedCallError(
                    "a FaissIndex searches by vectors, and the search has a text alone",
                    hint="Give an index that searches by words, such as BM25Index.",
                )
        replies: dict[int, Reply[tuple[Hit, ...]]] = {}
        order = sorted(range(len(calls)), key=lambda i: calls[i].k)  # type: ignore[attr-defined]
        for k, group in groupby(order, key=lambda i: calls[i].k):  # type: ignore[attr-defined]
            where = list(group)
            found = self.search_many([calls[i].vector for i in where], k)  # type: ignore[attr-defined]
            replies.update((i, Reply(hits)) for i, hits in zip(where, found, strict=True))
        return [replies[i] for i in range(len(calls))]

    def to_gpu(self, gpus: Sequence[int] | None = None, *, options: Any = None) -> "FaissIndex":
        """The same passages with the index on GPUs, where ``faiss-gpu`` is installed.

        The index on the CPU is kept: it gives the vectors of hits, and `to_cpu` and `save` use it.
        Threads take turns at searching.

        Args:
            gpus: The GPUs, by number; all when None. Each gets a copy, and queries are divided.
            options: FAISS's ``GpuMultipleClonerOptions``: its ``shard`` divides the passages,
                its ``useFloat16`` halves them.

        Raises:
            ConfigurationError: There is no such GPU, FAISS was installed without GPUs, or does not
                run such an index on them (HNSW, for one).
        """
        moved = copy(self)
        moved._kept = on_cpu(self._kept)
        moved.index = to_gpus(moved._kept, gpus, options)
        return moved

    def to_cpu(self) -> "FaissIndex":
        """The same passages with the index on the CPU."""
        moved = copy(self)
        moved.index = moved._kept = on_cpu(self._kept)
        return moved

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder, which always holds a whole index: this or the old one.

        An index on GPUs is written as its copy on the CPU.

        Raises:
            InputError: The folder cannot be written, or holds something else.
        """
        self._check_unchanged()
        titles = [Passage.of(text).passage_title for text in self.texts]
        texts = [str(text) for text in self.texts]
        parts = storage.Parts(
            on_cpu(self._kept), self.ids, texts, titles, self.vectors, self.tokens
        )
        storage.save(parts, Path(folder), metric=self.metric)

    @classmethod
    def load(cls, folder: str | Path) -> "FaissIndex":
        """Read what `save` wrote.

        Raises:
            InputError: There is no index, or its files are damaged, do not belong together, or
                are of another version.
        """
        index, ids, texts, titles, vectors, tokens = storage.load(Path(folder))
        passages = [
            Passage(text, title=title) if title else text
            for text, title in zip(texts, titles, strict=True)
        ]
        return cls(index, ids=ids, texts=passages, vectors=vectors, tokens=tokens)

    def _check_unchanged(self) -> None:
        if self.index.ntotal != len(self.ids):
            raise ConfigurationError(
                f"the index holds {self.index.ntotal} vectors, and there are {len(self.ids)} ids",
                hint="The index was changed: make a new FaissIndex of it.",
            )

    def _hits(
        self, places: Sequence[int], scores: Iterable[float | None] = repeat(None)
    ) -> Iterator[Hit]:
        for i, vector, score in zip(places, self._rows(places), scores, strict=False):
            yield Hit(self.ids[i], self.texts[i], vector, score)

    def _rows(self, places: Any) -> Any:
        """The vectors of some passages, one row each."""
        wanted = np.asarray(places, dtype=np.int64)
        if self.vectors is not None:
            return self.vectors[wanted]
        return self._kept.reconstruct_batch(wanted)


def _matrix(vectors: Any) -> FloatArray:
    """Convert vectors to rows of finite 32-bit floats, which FAISS reads.

    Raises:
        InputError: They are not.
    """
    try:
        table = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"the vectors cannot be read as numbers: {error}") from error
    if table.ndim != 2 or not table.shape[1]:
        raise InputError(
            f"the vectors have shape {table.shape}", hint="Give rows of finite numbers."
        )
    if not np.isfinite(table).all():
        raise InputError("a vector holds NaN or infinity as 32-bit floats, expected finite numbers")
    return table


def _check_passages(index: Any, ids: Sequence[str], texts: Sequence[str]) -> None:
    """Refuse ids and texts that do not belong to the vectors, one by one."""
    n = index.ntotal
    if not len(ids) == len(texts) == n:
        raise InputError(
            f"the index holds {n} vectors, and there are {len(ids)} ids and {len(texts)} texts"
        )
    if len(set(ids)) != n:
        [(key, times)] = Counter(ids).most_common(1)
        raise InputError(f"ids repeat: {key!r} is given {times} times")
    if not all(isinstance(value, str) for value in (*ids, *texts)):
        raise InputError("ids and texts must be strings")
    if hasattr(index, "id_map"):  # with other labels, hits would get the ids of other passages
        labels = find_faiss().vector_to_array(index.id_map)
        if not np.array_equal(labels, np.arange(n)):
            raise InputError(
                "the index has labels of its own, and not the positions of the ids",
                hint="Give the labels as ids, over the index inside (index.index).",
            )


def _check_reconstructs(index: Any) -> None:
    """Refuse an index that cannot give vectors back."""
    if not index.ntotal:
        return
    # A FastScan index that was read from a file crashes the process in `reconstruct`.
    if "FastScan" not in type(index).__name__:
        try:
            index.reconstruct(0)
            return
        except RuntimeError:
            pass
    remedy = (
        "Use an index that keeps its vectors (such as IDMap2 for IDMap)"
        if inverted_lists(index) is None
        else "Call make_direct_map() on it"
    )
    raise ConfigurationError(
        f"a {type(index).__name__} cannot give vectors back, which feedback needs",
        hint=f"{remedy}, or give vectors=...",
    )
