"""A FAISS index with ids, texts and vectors, which answers `Search` calls."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ...calls import Batch, Call, Hit, Replies, Reply, Search
from ...errors import ConfigurationError, InputError, MissingExtraError, UnsupportedCallError
from .._refine.objectives import FloatArray

Metric = Literal["ip", "l2"]


class FaissIndex:
    """Passages in a FAISS index: flat, HNSW, IVF, PQ or another, by inner product or L2.

    A backend for `Search` calls. Vectors of hits are read back from the index (of a compressed
    one, approximately). One instance serves many threads for searching.

    Args:
        index: A filled FAISS index. Its positions are those of ``ids``.
        ids: One for each vector, distinct.
        texts: What a reranker reads, one for each vector.
        vectors: The vectors themselves, shape ``(n, dim)``, kept beside an index that cannot give
            them back or only approximately.

    Raises:
        MissingExtraError: FAISS is not installed.
        InputError: Lengths disagree, ids repeat, or the metric is neither of the two.
        ConfigurationError: The index cannot give vectors back, and there are none beside it.

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
    ) -> None:
        faiss = import_faiss()
        self.index = index
        self.ids, self.texts = tuple(ids), tuple(texts)
        _check_passages(self.ids, self.texts, index.ntotal)
        _check_labels(index)
        metrics: dict[int, Metric] = {faiss.METRIC_INNER_PRODUCT: "ip", faiss.METRIC_L2: "l2"}
        if index.metric_type not in metrics:
            raise InputError("the index compares neither by inner product nor by L2 distance")
        self.metric: Metric = metrics[index.metric_type]
        self.vectors = None if vectors is None else matrix(vectors)
        if self.vectors is None:
            _check_reconstructs(index)
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
    ) -> "FaissIndex":
        """Index vectors.

        Args:
            vectors: Shape ``(n, dim)``. For cosine similarity, normalise them to length 1.
            ids: As for the class.
            texts: As for the class.
            factory: What to build, in FAISS' words: ``"Flat"``, ``"HNSW32"``, ``"IVF256,Flat"``,
                ``"IVF256,PQ48"``, ... Those that need training are trained on the vectors.
            metric: ``"ip"`` (inner product) or ``"l2"``.

        Raises:
            MissingExtraError: FAISS is not installed.
            InputError: Lengths disagree, ids repeat, or FAISS cannot build that.
        """
        faiss = import_faiss()
        if metric not in ("ip", "l2"):
            raise InputError(f"metric is {metric!r}, expected 'ip' or 'l2'")
        table = matrix(vectors)
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
        return cls(index, ids=ids, texts=texts)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        kind = type(self.index).__name__
        return f"FaissIndex({kind}, {len(self)} passages, {self.index.d} dimensions, {self.metric})"

    def search(self, vector: Any, k: int) -> tuple[Hit, ...]:
        """The nearest passages, best first.

        Args:
            vector: Shape ``(dim,)``.
            k: How many; fewer come where the index holds (or visits) fewer.

        Raises:
            InputError: The vector has another dimension or is not finite, or k is not positive.
        """
        return self.search_many([vector], k)[0]

    def search_many(self, vectors: Any, k: int) -> list[tuple[Hit, ...]]:
        """`search` for each row of ``vectors``, shape ``(n, dim)``, in one call of FAISS."""
        if k < 1:
            raise InputError(f"k is {k!r}, expected a positive integer")
        self._check_unchanged()
        table = matrix(vectors)
        if table.shape[1] != self.index.d:
            raise InputError(
                f"the query has {table.shape[1]} dimensions and the index has {self.index.d}",
                hint="Both must come from the same embedding model.",
            )
        if not len(self):
            return [() for _ in table]
        scores, places = self.index.search(table, min(k, len(self)))
        return [self._hits(*row) for row in zip(scores, places, strict=True)]

    def run(self, calls: Batch) -> Replies:
        """Answer `Search` calls: those with the same number of hits in one call of FAISS."""
        for call in calls:
            if not isinstance(call, Search):
                raise UnsupportedCallError(f"an index cannot answer a {type(call).__name__}")
        replies: dict[int, Reply[tuple[Hit, ...]]] = {}
        order = sorted(range(len(calls)), key=lambda i: calls[i].k)  # type: ignore[attr-defined]
        for k, group in groupby(order, key=lambda i: calls[i].k):  # type: ignore[attr-defined]
            where = list(group)
            found = self.search_many([calls[i].vector for i in where], k)  # type: ignore[attr-defined]
            replies.update((i, Reply(hits)) for i, hits in zip(where, found, strict=True))
        return [replies[i] for i in range(len(calls))]

    def to_gpu(self) -> "FaissIndex":
        """The same passages with the index on every GPU, where ``faiss-gpu`` is installed.

        Raises:
            ConfigurationError: This FAISS has no GPU.
        """
        faiss = import_faiss()
        if not getattr(faiss, "get_num_gpus", int)():
            raise ConfigurationError("this FAISS sees no GPU", hint="Install faiss-gpu.")
        moved = faiss.index_cpu_to_all_gpus(self.index)
        return FaissIndex(moved, ids=self.ids, texts=self.texts, vectors=self.vectors)

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder, so that it is either all there or the old one is.

        Raises:
            InputError: The folder cannot be written, or holds something else.
        """
        from .storage import save  # imported here: it needs this class

        self._check_unchanged()
        save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "FaissIndex":
        """Read what `save` wrote.

        Raises:
            InputError: There is no index, or its files are damaged, do not belong together, or
                are of another version.
        """
        from .storage import load  # imported here: it needs this class

        return load(Path(folder))

    def _check_unchanged(self) -> None:
        if self.index.ntotal != len(self.ids):
            raise ConfigurationError(
                f"the index holds {self.index.ntotal} vectors, and there are {len(self.ids)} ids",
                hint="It was changed since: make a new FaissIndex of it.",
            )

    def _hits(self, scores: FloatArray, places: Any) -> tuple[Hit, ...]:
        found = [(int(i), float(s)) for i, s in zip(places, scores, strict=True) if i >= 0]
        vectors = self._vectors([i for i, _ in found])
        sign = 1 if self.metric == "ip" else -1  # a distance is better when it is smaller
        return tuple(
            Hit(self.ids[i], self.texts[i], vector, sign * score)
            for (i, score), vector in zip(found, vectors, strict=True)
        )

    def _vectors(self, places: Sequence[int]) -> Sequence[Any]:
        if self.vectors is not None:
            return list(self.vectors[list(places)])
        return [self.index.reconstruct(place) for place in places]


def import_faiss() -> Any:
    """FAISS.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "faiss is not installed", hint='Install it with: pip install "rerank-plugins[faiss]".'
        ) from error
    return faiss


def matrix(vectors: Any) -> FloatArray:
    """Vectors as FAISS reads them: rows of 32-bit numbers, all finite.

    Raises:
        InputError: They are not.
    """
    try:
        table = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"the vectors cannot be read as numbers: {error}") from error
    if table.ndim != 2 or not table.shape[1] or not np.isfinite(table).all():
        raise InputError(
            f"the vectors have shape {table.shape}", hint="Give rows of finite numbers."
        )
    return table


def inverted_lists(index: Any) -> Any:
    """The part of an index that needs a direct map to give vectors back, or None."""
    faiss = import_faiss()
    try:
        return faiss.extract_index_ivf(index)
    except (RuntimeError, TypeError):
        return None


def _check_passages(ids: Sequence[str], texts: Sequence[str], n: int) -> None:
    if not len(ids) == len(texts) == n:
        raise InputError(
            f"the index holds {n} vectors, and there are {len(ids)} ids and {len(texts)} texts"
        )
    if len(set(ids)) != n:
        raise InputError("ids repeat")
    if not all(isinstance(value, str) for value in (*ids, *texts)):
        raise InputError("ids and texts must be strings")


def _check_labels(index: Any) -> None:
    """Refuse labels that are no positions: hits would get the ids of other passages."""
    if not hasattr(index, "id_map"):
        return
    labels = import_faiss().vector_to_array(index.id_map)
    if not np.array_equal(labels, np.arange(len(labels))):
        raise InputError(
            "the index has labels of its own, and not the positions of the ids",
            hint="Give the labels as ids, over the index inside (index.index).",
        )


def _check_reconstructs(index: Any) -> None:
    if not index.ntotal or _reconstructs(index):
        return
    remedy = (
        "Call make_direct_map() on it"
        if inverted_lists(index) is not None
        else "Use an index that keeps its vectors (such as IDMap2 for IDMap)"
    )
    raise ConfigurationError(
        f"a {type(index).__name__} cannot give vectors back, which feedback needs",
        hint=f"{remedy}, or give vectors=...",
    )


def _reconstructs(index: Any) -> bool:
    if "FastScan" in type(index).__name__:
        return False  # it would crash the process where the index was read from a file
    try:
        index.reconstruct(0)
    except RuntimeError:
        return False
    return True
