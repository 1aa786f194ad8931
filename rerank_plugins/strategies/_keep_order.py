"""Fallback to the input's order when a call fails."""

import inspect
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from ..calls import Plan
from ..ranking import Ranking, Report, Strategy, check_inner
from ..text import Passage
from ._attempt import attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepOrder:
    """Leave the passages as they are when a call fails, and say so in the report.

    Put it around the smallest piece that may fail alone: inside `SlidingWindow` a failed call
    costs its window and nothing else. Where a strategy knows a better order than the input's
    without the failed answer, that order is used.

    Args:
        inner: The strategy that may fail.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Failing
        >>> ranking = Reranker(KeepOrder(inner=SingleToken()), Failing()).rank("q", ["a", "b"])
        >>> ranking.order, ranking.report.fallbacks
        ((0, 1), ('BackendError: this backend always fails',))
    """

    inner: Strategy = field(kw_only=False)

    def __post_init__(self) -> None:
        check_inner(self.inner)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of ``inner``; if a call fails, the order that is known without it."""
        known = yield from attempt(self.inner, query, passages)
        if known.error is None:
            return known.ranking
        cause = Report(fallbacks=(f"{type(known.error).__name__}: {known.error}",))
        return replace(known.ranking, report=known.ranking.report + cause)

    @classmethod
    def around(cls, strategy: Strategy) -> "KeepOrder":
        """Put a `KeepOrder` around a strategy, and around every strategy that it holds.

        Examples:
            >>> from rerank_plugins.strategies import SingleToken, SlidingWindow
            >>> KeepOrder.around(SlidingWindow(SingleToken())).inner.inner
            KeepOrder(inner=SingleToken(prompt='first.v1', policy='keep_order'))
        """
        if isinstance(strategy, cls):
            return cls.around(strategy.inner)
        return cls(inner=map_inner(strategy, cls.around))


def map_inner(strategy: Strategy, change: Callable[[Strategy], Strategy]) -> Strategy:
    """The strategy, with ``change(inner)`` in the place of every strategy that it holds.

    Held strategies are looked for in attributes, and in tuples, lists and dictionaries there. A
    class that holds them elsewhere has a ``map_inner(change)`` method. The constructor does not
    run again: what it checked still holds.
    """
    own = getattr(strategy, "map_inner", None)
    if own is not None:
        mapped: Strategy = own(change)
        return mapped
    slots = [n for cls in type(strategy).__mro__ for n in getattr(cls, "__slots__", ())]
    names = [*slots, *getattr(strategy, "__dict__", ())]
    values = {name: getattr(strategy, name) for name in names if hasattr(strategy, name)}
    changed = {name: _mapped(value, change) for name, value in values.items()}
    if all(changed[name] is values[name] for name in values):
        return strategy
    twin = copy(strategy)
    for name in values:
        if changed[name] is not values[name]:
            object.__setattr__(twin, name, changed[name])  # the class may be frozen
    return twin


def _mapped(value: Any, change: Callable[[Strategy], Strategy]) -> Any:
    if _is_strategy(value):
        return change(value)
    if type(value) in (tuple, list):
        items = [_mapped(item, change) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if type(value) is dict:
        values = {key: _mapped(item, change) for key, item in value.items()}
        return value if all(values[key] is value[key] for key in value) else values
    return value


def _is_strategy(value: object) -> TypeGuard[Strategy]:
    """True for objects with the strategy's ``rank``: a `Reranker` and a table of data rank too."""
    if isinstance(value, type) or not isinstance(value, Strategy) or hasattr(value, "arank"):
        return False
    return list(inspect.signature(value.rank).parameters)[:2] == ["query", "passages"]
