"""The calls of one ranking with their answers, for people to read."""

from typing import Any

from ..calls import (
    Batch,
    Call,
    Completion,
    ContinuationLogprob,
    Embed,
    LabelLogprobs,
    Likelihood,
    NextToken,
    Plan,
    Prompt,
    Replies,
    Reply,
    ScorePair,
    Vectors,
    text_of,
)
from ..errors import CallError
from ..middleware import Layer
from ..reranker import Reranker
from ._problems import public_cause
from ._schemas import Asked

MAX_ASKED = 20
"""The largest number of calls in a response."""
MAX_CHARS = 20_000
"""The largest number of characters of a text in them."""


def watched(reranker: Reranker, asked: list[Asked]) -> Reranker:
    """The same reranker, over the same model, which adds its first calls to a list.

    Args:
        reranker: The reranker.
        asked: The list; it gets `MAX_ASKED` calls at most.
    """

    def exchange(calls: Batch) -> Plan[Replies]:
        replies = (yield calls) if calls else []
        left = MAX_ASKED - len(asked)
        asked.extend(_described(c, r) for c, r in zip(calls[:left], replies[:left], strict=True))
        return replies

    layer = Layer(reranker.backend, exchange)
    return Reranker(reranker.strategy, layer, on_error=reranker.on_error, limits=reranker.limits)


def _described(call: Call[Any], reply: Reply[Any] | CallError) -> Asked:
    prompt = getattr(call, "prompt", None)
    question = _prompt_text(prompt) if isinstance(prompt, Prompt) else ""
    match call:
        case NextToken(labels=labels):
            question += f"\n\n[which comes next: {' '.join(labels)}]"
        case Likelihood(continuation=text):
            question += f"\n\n[how likely is then] {text.text}"
        case Embed(marks=marks):
            where = f"at each {' and '.join(marks)}" if marks else "at the last token"
            question += f"\n\n[which vectors are there: {where}]"
        case ScorePair(query=query, passage=passage):
            question = f"[first text] {query}\n\n[second text] {passage}"
    return Asked(
        kind=type(call).__name__,
        question=question.strip()[:MAX_CHARS],
        answer=_answer_text(reply)[:MAX_CHARS],
        failed=isinstance(reply, CallError),
    )


def _prompt_text(prompt: Prompt) -> str:
    lines = [f"[{m.role}] {m.text}" if prompt.chat else m.text for m in prompt.messages]
    begun = text_of(prompt.prefill)
    return "\n\n".join([*lines, *([f"[the answer begins] {begun}"] if begun else [])])


def _answer_text(reply: Reply[Any] | CallError) -> str:
    if isinstance(reply, CallError):
        return public_cause(f"{type(reply).__name__}: {reply}")
    match reply.answer:
        case LabelLogprobs(seen=seen):
            best = sorted(seen.items(), key=lambda item: -item[1])
            return "  ".join(f"{label} {value:.4f}" for label, value in best)
        case Completion(text=text):
            return text
        case ContinuationLogprob(logprob=logprob, tokens=tokens):
            return f"{logprob:.4f} ({tokens} tokens)"
        case Vectors(rows=rows):
            return f"vectors: {len(rows)}, of {len(rows[0]) if rows else 0} numbers"
        case float() | int() as number:
            return f"{number:.4f}"
        case _:
            return ""
