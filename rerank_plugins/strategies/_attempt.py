"""A ranking that a failed call cut short, as a value."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..calls import Plan
from ..errors import CallError
from ..ranking import Ranking, Strategy, input_order
from ..text import Passage


@dataclass(frozen=True, slots=True)
class Attempt:
    """The best ranking that is known, and the failure that kept it from being finished.

    A strategy that can say more than the input's order when a call fails has, beside ``rank``, a
    method ``attempt`` with the same arguments, which plans one of these.
    """

    ranking: Ranking
    error: CallError | None = None

    def result(self) -> Ranking:
        """The ranking, if nothing failed.

        Raises:
            CallError: Something did.
        """
        if self.error is not None:
            raise self.error
        return self.ranking


def attempt(strategy: Strategy, query: str, passages: Sequence[Passage]) -> Plan[Attempt]:
    """Plan a ranking by any strategy, with the input's order where it knows nothing better."""
    own = getattr(strategy, "attempt", None)
    try:
        if own is None:
            return Attempt((yield from strategy.rank(query, passages)))
        known: Attempt = yield from own(query, passages)
    except CallError as error:
        return Attempt(input_order(len(passages)), error)
    return known
