"""What every backend needs: sorting a mixed batch by kind, asking equal calls once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..calls import Batch, Call, Replies, Reply
from ..errors import CallError, UnsupportedCallError

SECRET: Mapping[str, bool] = {"secret": True}
"""Metadata of a dataclass field that must not be written into a spec."""

Answers = Sequence[Reply[Any] | CallError]


def by_kind(calls: Batch, table: Mapping[type[Call[Any]], Callable[[Any], Answers]]) -> Replies:
    """Answer a mixed batch with one function per kind of call, keeping the order.

    Raises:
        UnsupportedCallError: ``table`` has no function for a call.

    Examples:
        >>> from rerank_plugins.calls import ScorePair
        >>> by_kind([ScorePair("q", "p")], {ScorePair: lambda calls: [Reply(1.0) for _ in calls]})
        [Reply(answer=1.0, prompt_tokens=0, generated_tokens=0, truncated=())]
    """
    replies: dict[int, Reply[Any] | CallError] = {}
    for kind in dict.fromkeys(map(type, calls)):
        if kind not in table:
            known = ", ".join(sorted(k.__name__ for k in table))
            raise UnsupportedCallError(f"{kind.__name__} is not among {known}")
        where = [i for i, call in enumerate(calls) if type(call) is kind]
        replies.update(zip(where, table[kind]([calls[i] for i in where]), strict=True))
    return [replies[i] for i in range(len(calls))]
