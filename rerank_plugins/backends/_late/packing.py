"""Token vectors in few bytes, and the similarity of a query to them."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from .encoding import Encoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]

Precision = Literal["float32", "float16", "int8"]
Total = Literal["mean", "sum"]
_LARGEST = 127


@dataclass(frozen=True, eq=False)
class Packed:
    """The vectors of a text as they are kept.

    In ``int8``, each row is divided by its own largest value, and its length says what by: rows
    have the length 1 again when they are unpacked.

    Args:
        codes: Shape ``(n, dim)``, of the precision's type.
        tokens: Tokens that the model read for it.
        truncated: Whether the end of the text was not read.
    """

    codes: "NDArray[np.generic]"
    tokens: int
    truncated: bool = False

    @property
    def nbytes(self) -> int:
        """The bytes that it takes in memory: codes, what divides them, and two Python objects."""
        divided = 4 * len(self.codes) if self.codes.dtype.kind == "i" else 0
        return int(self.codes.nbytes) + divided + 512

    @cached_property
    def scales(self) -> "Floats | None":
        """The factor of each row, for ``int8``."""
        import numpy as np

        if self.codes.dtype.kind != "i":
            return None
        lengths = np.sqrt(np.square(self.codes, dtype=np.float32).sum(axis=1, dtype=np.float32))
        return np.asarray(1 / np.maximum(lengths, 1), dtype=np.float32)

    @property
    def rows(self) -> "Floats":
        """The vectors again, shape ``(n, dim)``."""
        import numpy as np

        rows = self.codes.astype(np.float32)
        return rows if self.scales is None else rows * self.scales[:, None]


def pack(encoded: Encoded, precision: Precision) -> Packed:
    """Pack the vectors of a text.

    Examples:
        >>> import numpy as np
        >>> pack(Encoded(np.eye(2, dtype=np.float32), 2), "int8").rows.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    import numpy as np

    rows = encoded.vectors
    if precision == "int8":
        largest = np.abs(rows).max(axis=1, keepdims=True)
        rows = np.rint(rows * (_LARGEST / np.where(largest > 0, largest, 1)))
    return Packed(rows.astype(precision), encoded.tokens, encoded.truncated)


def similarity(query: "Floats", passage: Packed, total: Total = "mean") -> float:
    """MaxSim: over the query's rows, the mean or sum of the best inner product with a passage's.

    One product a passage: its rows, unpacked, still are in the processor's cache.

    Args:
        query: Shape ``(m, dim)``, rows of length 1.
        passage: The passage's vectors.
        total: Whether the best products are averaged or summed.

    Examples:
        >>> import numpy as np
        >>> eye = np.eye(2, dtype=np.float32)
        >>> similarity(eye, pack(Encoded(eye[:1], 1), "float32"))
        0.5
    """
    import numpy as np

    products = query @ passage.codes.astype(np.float32, copy=False).T
    if passage.scales is not None:
        products *= passage.scales
    best = products.max(axis=1)
    return float(best.mean() if total == "mean" else best.sum())
