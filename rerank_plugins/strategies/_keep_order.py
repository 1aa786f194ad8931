"""Fallback to the input's order when a call fails."""

import inspect
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MemberDescriptorType
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
        plan = self.inner.rank(query, passages)
        if not isinstance(plan, Generator):
            return plan  # not a strategy, but another object with a method of that name
        plan.close()
        return self._kept(query, passages)

    def _kept(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        known = yield from attempt(self.inner, query, passages)
        if known.error is None:
            return known.ranking
        unread = frozenset(range(len(passages))) if known.unread is None else known.unread
        cause = Report(fallbacks=(f"{type(known.error).__name__}: {known.error}",), unread=unread)
        return replace(known.ranking, report=known.ranking.report + cause)

    def __getattr__(self, name: str) -> Any:
        # Who holds the inner strategy may read its attributes: a size, a prompt.
        if name.startswith("__") or name in ("inner", "attempt_rank", "map_inner"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @classmethod
    def around(cls, strategy: Strategy) -> "KeepOrder":
        """Put a `KeepOrder` around a strategy, and around every strategy that it holds.

        Examples:
            >>> from rerank_plugins.strategies import SingleToken, SlidingWindow
            >>> KeepOrder.around(SlidingWindow(SingleToken())).inner.inner
            KeepOrder(inner=SingleToken(prompt='first.v1', policy='keep_order'))
        """
        wrapped: dict[int, Strategy] = {}  # by the identity of the strategy: one that is held twice

        def wrap(held: Strategy) -> Strategy:
            if id(held) not in wrapped:
                wrapped[id(held)] = held  # while it is looked into: it may hold itself
                inner = held.inner if isinstance(held, cls) else held
                wrapped[id(held)] = cls(inner=map_inner(inner, wrap))
            return wrapped[id(held)]

        kept = wrap(strategy)
        return kept if isinstance(kept, cls) else cls(inner=kept)


def map_inner(strategy: Strategy, change: Callable[[Strategy], Strategy]) -> Strategy:
    """The strategy, with ``change(inner)`` in the place of every strategy that it holds.

    Held strategies are looked for in attributes, and in tuples, lists, sets, deques and
    dictionaries there. A class that holds them elsewhere has a ``map_inner(change)`` method. The
    constructor does not run again: what it checked still holds.
    """
    if hasattr(type(strategy), "map_inner"):
        own: Any = strategy
        mapped: Strategy = own.map_inner(change)
        return mapped
    values = _attributes(strategy)
    changed = {name: _mapped(value, change) for name, value in values.items()}
    if all(changed[name] is values[name] for name in values):
        return strategy
    twin: Strategy = object.__new__(type(strategy))  # no method of the class runs, as no copy does
    for name, value in changed.items():
        object.__setattr__(twin, name, value)  # the class may be frozen
    return twin


def _attributes(strategy: object) -> dict[str, Any]:
    """The attributes of an object, in slots and in its dictionary."""
    slots = {
        name: member
        for cls in type(strategy).__mro__
        for name, member in vars(cls).items()
        if isinstance(member, MemberDescriptorType)
    }
    found: dict[str, Any] = {}
    for name, member in slots.items():
        with suppress(AttributeError):  # a slot that was never set
            found[name] = member.__get__(strategy)
    return found | getattr(strategy, "__dict__", {})


def _mapped(value: Any, change: Callable[[Strategy], Strategy]) -> Any:
    if _is_strategy(value):
        return change(value)
    if isinstance(value, dict):
        values = {key: _mapped(item, change) for key, item in value.items()}
        return value if all(values[key] is value[key] for key in value) else values
    if not isinstance(value, tuple | list | set | frozenset | deque):
        return value
    items = [_mapped(item, change) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    if hasattr(value, "_fields"):
        return type(value)(*items)
    return deque(items, value.maxlen) if isinstance(value, deque) else type(value)(items)


def _is_strategy(value: object) -> TypeGuard[Strategy]:
    """True for what may be a strategy: a `Reranker` and a table of data rank other things."""
    if isinstance(value, type) or not isinstance(value, Strategy) or hasattr(value, "arank_many"):
        return False
    first = list(inspect.signature(value.rank).parameters.values())[:2]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in first):
        return True
    return len(first) == 2 and all(parameter.default is parameter.empty for parameter in first)
