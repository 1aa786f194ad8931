"""`QdrantIndex`: a Qdrant collection, which answers `Search` calls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._checks import at_least, either
from ..._extras import extra
from ...calls import Batch, Call, Hit, Replies, Reply, Search
from ...errors import ConfigurationError, InputError, UnsupportedCallError
from ...handlers import failure
from .faiss import _matrix

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


class QdrantIndex:
    """Passages in a Qdrant collection: of a server, in the cloud, or in this process.

    A backend for `Search` calls, which are plain searches by vector: any version of Qdrant answers
    them. All searches of a batch are one request. Compare Qdrant's own relevance feedback, which
    needs version 1.17 and coefficients that were trained for the collection.

    Args:
        client: The client. Give it a timeout; an asynchronous one will not do.
        collection: The name of the collection.
        text: The key of a passage's text in the payload of its point.
        id: The key of its id there; the point's own when None.
        using: The name of the vector, where points have several.
        query_filter: A filter of Qdrant for every search.

    Raises:
        InputError: The client is asynchronous, or no client.

    Examples:
        >>> from qdrant_client import QdrantClient, models
        >>> client = QdrantClient(":memory:")
        >>> size = models.VectorParams(size=2, distance=models.Distance.COSINE)
        >>> client.create_collection("notes", vectors_config=size)
        True
        >>> points = [
        ...     models.PointStruct(id=1, vector=[1.0, 0.0], payload={"text": "one"}),
        ...     models.PointStruct(id=2, vector=[0.0, 1.0], payload={"text": "two"}),
        ... ]
        >>> _ = client.upsert("notes", points)
        >>> [hit.text for hit in QdrantIndex(client, "notes").search([0.1, 0.9], k=2)]
        ['two', 'one']
        >>> client.close()
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({Search})

    def __init__(
        self,
        client: "QdrantClient",
        collection: str,
        *,
        text: str = "text",
        id: str | None = None,  # noqa: A002 - what it is
        using: str | None = None,
        query_filter: Any = None,
    ) -> None:
        library = extra("qdrant_client", package="qdrant-client")
        if not isinstance(client, library.QdrantClient):
            raise InputError(
                f"client is of type {type(client).__name__}, expected QdrantClient",
                hint="It runs in a thread where the application is asynchronous.",
            )
        self.client, self.collection = client, collection
        self.text, self.id, self.using, self.query_filter = text, id, using, query_filter

    def __repr__(self) -> str:
        return f"QdrantIndex({self.collection!r})"

    def search(self, vector: Any, k: int) -> tuple[Hit, ...]:
        """The nearest passages, best first.

        Args:
            vector: Shape ``(dim,)``.
            k: How many.

        Raises:
            InputError: The vector is not finite, or k is not positive.
            ConfigurationError: A payload has no text, a point has another vector, or vectors have
                other names.
        """
        return self.search_many([vector], k)[0]

    def search_many(self, vectors: Any, k: int) -> list[tuple[Hit, ...]]:
        """`search` for each row of ``vectors``, shape ``(n, dim)``, in one request."""
        at_least(1, k=k)
        return self._asked([(row.tolist(), k) for row in _matrix(vectors)])

    def run(self, calls: Batch) -> Replies:
        """Answer `Search` calls in one request. If it fails, all of them do."""
        asked = []
        for call in calls:
            if not isinstance(call, Search):
                raise UnsupportedCallError(f"an index cannot answer a {type(call).__name__}")
            if not call.vector:
                raise UnsupportedCallError(
                    "a QdrantIndex searches by vectors, and the search has none",
                    hint="Give an index that searches by words, such as BM25Index.",
                )
            asked.append((_matrix([call.vector])[0].tolist(), call.k))
        try:
            return [Reply(hits) for hits in self._asked(asked)]
        except Exception as error:  # noqa: BLE001 - a client may raise anything
            return [failure(error)] * len(asked)

    def _asked(self, searches: Sequence[tuple[list[float], int]]) -> list[tuple[Hit, ...]]:
        models = extra("qdrant_client.models", package="qdrant-client")
        keys = [self.text] if self.id is None else [self.text, self.id]
        requests = [
            models.QueryRequest(
                query=vector,
                using=self.using,
                filter=self.query_filter,
                limit=k,
                with_vector=True if self.using is None else [self.using],
                with_payload=keys,
            )
            for vector, k in searches
        ]
        if not requests:
            return []
        try:
            replies = self.client.query_batch_points(self.collection, requests)
        except Exception as error:
            if wrong := self._wrong_name():
                raise wrong from error
            raise
        return [tuple(map(self._hit, reply.points)) for reply in replies]

    def _wrong_name(self) -> ConfigurationError | None:
        """The error of a collection whose points have vectors of other names; None if not known."""
        try:
            held = self.client.get_collection(self.collection).config.params.vectors
        except Exception:  # noqa: BLE001 - the error of the search says it
            return None
        names = list(held) if isinstance(held, dict) else [None]
        if self.using in names or not names:
            return None
        given = f"and using is {self.using!r}"
        if names == [None]:
            return ConfigurationError(
                f"the vectors of {self.collection!r} have no names, {given}", hint="Leave it out."
            )
        return ConfigurationError(
            f"the vectors of {self.collection!r} have names, {given}",
            hint=f"Give {either(f'using={name!r}' for name in names)}.",
        )

    def _hit(self, point: Any) -> Hit:
        held = point.payload or {}
        text, key = held.get(self.text), point.id if self.id is None else held.get(self.id)
        if not isinstance(text, str) or key is None:
            missing = "id" if isinstance(text, str) else "text"
            raise ConfigurationError(
                f"the payload of point {point.id} has no {getattr(self, missing)!r}",
                hint=f"Name the key of the {missing}: QdrantIndex(..., {missing}=...).",
            )
        vector = point.vector
        if isinstance(vector, dict):
            vector = vector.get(self.using)
        if vector is not None and np.ndim(vector) != 1:
            raise ConfigurationError(
                f"the vector of point {point.id} is not one list of numbers",
                hint="Name a dense vector: QdrantIndex(..., using=...).",
            )
        return Hit(str(key), text, () if vector is None else vector, point.score)
