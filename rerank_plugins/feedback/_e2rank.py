"""`E2Rank`: the encoder itself writes the new query vector, from the best passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from .._checks import at_least
from ..calls import Plan
from ..errors import InputError
from ..strategies._pseudo_query import ask_pseudo_query, require_alone
from ..strategies._vectors import Vector

ASKS = "the method e2rank asks a model, so it works in a FeedbackSearch alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class E2Rank:
    """Search again with the vector of a prompt that holds the query and the best passages.

    Unlike the other methods it computes nothing from vectors: it asks the embedding model, which
    must be the one that made the index's. Only the order of the reranker counts, and only its best
    ``inputs`` passages are read. It is a method of `FeedbackSearch` and `search_with_feedback`
    alone, as the others are: ``method="e2rank"``.

    Args:
        prompt: An embedding prompt with a form of a passage alone, or its versioned name.
        inputs: How many of the best passages are read.

    Raises:
        InputError: The prompt has marks, or ``inputs`` is not positive.

    References:
        Liu et al., E2Rank, arXiv:2510.22733, 2025.

    Examples:
        >>> E2Rank(inputs=10)
        E2Rank(prompt='e2rank.v1', inputs=10)
    """

    prompt: str = "e2rank.v1"
    inputs: int = 20

    def __post_init__(self) -> None:
        at_least(1, inputs=self.inputs)
        require_alone(self.prompt)

    def ask(self, query: str, passages: Sequence[str]) -> Plan[Vector]:
        """Plan the call for the new vector.

        Args:
            query: The query.
            passages: What was ranked, best first.

        Raises:
            CallError: The call failed, or its answer is not one vector.
        """
        template = require_alone(self.prompt)
        written = yield from ask_pseudo_query(template, query, passages[: self.inputs])
        return written.vector

    def move(self, feedback: Any) -> NoReturn:  # noqa: ARG002 - as every method has it
        """Refuse to move a vector without a model.

        Raises:
            InputError: Always.
        """
        raise InputError(ASKS, hint="Use another method, such as 'safe'.")
