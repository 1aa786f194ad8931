"""The content of a model's message, and the answer in it after the model's reasoning."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_NAME = (
    r"(?:\w{1,20}[:_-])?(?:ant)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|rationale"
    r"|scratchpad|monologue|analysis)(?:[_-]\w{1,20})?"
)
_TAG = (
    r"[<\uff1c\u25c1]\s{0,3}[|\uff5c]?(?P<closing>/?)\s{0,3}"
    rf"(?P<tag>{_NAME})(?:\s[\w-]{{1,20}}=[^<>]{{0,100}})?\s{{0,3}}[|\uff5c]?[>\uff1e\u25b7]"
)
_OTHERS = (  # how models begin their reasoning, and how they end it
    (  # gpt-oss, also where the special tokens were left out of the text
        r"<\|channel\|>(?!\s{0,3}final)|\A\[?analysis(?=[\w\[])|assistant(?:analysis|commentary)",
        r"<\|channel\|>\s{0,3}final[^<]{0,50}(?:<\|constrain\|>[^<]{0,50})?(?:<\|message\|>)?"
        r"|assistantfinal",
    ),
    (r"[\[\uff3b]think(?:ing)?[\]\uff3d]", r"[\[\uff3b]/think(?:ing)?[\]\uff3d]"),  # Magistral
    (  # Command A, Sky-T1
        r"<\|(?:start|begin)(?:_of)?_(?:thinking|thought|reasoning)\|>",
        r"<\|end(?:_of)?_(?:thinking|thought|reasoning)\|>",
    ),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    (r"<\|channel>", r"<channel\|>"),  # Gemma
    (r"<unused94>", r"<unused95>"),  # MedGemma
    (
        r"here(?: is|['\u2019]s) my thought process:",
        r"here(?: is|['\u2019]s) my response:",
    ),  # Granite
)
_MARKS = "|".join([*(f"(?P<o{i}>{o})|(?P<c{i}>{c})" for i, (o, c) in enumerate(_OTHERS)), _TAG])
_MARK = re.compile(
    rf"(?=[<\uff1c\u25c1\[\uff3bah])(?:{_MARKS})", re.IGNORECASE
)  # their first letters
_ANSWER_OPEN = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_CLOSE = re.compile(r"</answer>", re.IGNORECASE)
_TURN_END = re.compile(r"<\|(?:end|return)\|>")


class _Mark(NamedTuple):
    """A mark of a family of marks that opens or closes reasoning."""

    family: str
    closes: bool
    start: int
    stop: int


def content_text(content: object) -> str | None:
    """Join the text in a message's content; reasoning and images among its parts are left out.

    Returns:
        The text, empty if no part is text; None if it is neither text nor a list of parts.

    Examples:
        >>> thought = {"type": "thinking", "thinking": [{"type": "text", "text": "[1]?"}]}
        >>> content_text([thought, {"type": "text", "text": "[2] > [1]"}])
        '[2] > [1]'
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return None
    texts = []
    for part in content:
        if not isinstance(part, str | Mapping):
            return None
        kind = "text" if isinstance(part, str) else part.get("type", "text")
        text = part if isinstance(part, str) else part.get("text")
        if kind in ("text", "output_text") and isinstance(text, str):
            texts.append(text)
    return "".join(texts)


def answer_text(text: str, *, reasoning: bool = False) -> str:
    """The part after the model's reasoning; empty if there is none.

    The reasoning of all common model families is known: tags such as ``<think>``, ``<reasoning>``
    and ``[THINK]`` in any case, and gpt-oss's channels. If the answer has an ``<answer>``, only the
    text from there to ``</answer>`` counts; an answer that the token limit cut has no closing tag.

    Args:
        text: The model's whole output.
        reasoning: Whether the prompt demanded the tags. Then text without them is reasoning, and
            never read as an answer.

    Examples:
        >>> answer_text("<think>[1] looks good</think>[2] > [1]")
        '[2] > [1]'
        >>> answer_text("[THINK][1] looks go")
        ''
        >>> answer_text("<think>[1]?</think> <answer>[2] > [1]</answer> as I said", reasoning=True)
        '[2] > [1]'
        >>> answer_text("I compare [1] with [2]", reasoning=True)
        ''
    """
    start, stop = answer_span(text, reasoning=reasoning)
    return text[start:stop]


def answer_span(text: str, *, reasoning: bool = False) -> tuple[int, int]:
    """The start and the stop of `answer_text` in ``text``."""
    marks = list(_marks(text))
    if not marks and "<" not in text:  # most answers
        return (len(text) if reasoning else 0), len(text)
    start = max((mark.stop for mark in marks if mark.closes), default=0)
    stop = len(text)
    unclosed, closed = _unclosed(marks), False
    if unclosed:
        # Drafts in it are not answers, but a complete one at the very end is.
        start, stop = 0, len(text.rstrip())
        closed = text[max(stop - 9, 0) : stop].lower() == "</answer>"
        stop -= 9 if closed else 0
    elif end := _TURN_END.search(text, start):
        stop = end.start()
    opened = [found.end() for found in _ANSWER_OPEN.finditer(text, start, stop)]
    if (unclosed and not (closed and opened)) or (reasoning and not opened):
        return len(text), len(text)
    if opened:
        start = opened[-1]
        close = _ANSWER_CLOSE.search(text, start, stop)
        stop = close.start() if close else stop
    return start, stop


def opens_reasoning(prompt: str) -> bool:
    r"""Whether a prompt ends in the mark with which the model's reasoning begins.

    Examples:
        >>> opens_reasoning("<assistant><think>\n"), opens_reasoning("<think>\n\n</think>\n")
        (True, False)
    """
    end = prompt[-50:].rstrip()
    return any(mark.stop == len(end) and not mark.closes for mark in _marks(end))


def begins_in_reasoning(text: str) -> bool:
    """Whether an answer closes reasoning before it opens any: the chat template opened it.

    Examples:
        >>> begins_in_reasoning("[1] > [2]?</think>[2] > [1]"), begins_in_reasoning("[2] > [1]")
        (True, False)
    """
    first = next(_marks(text), None)
    return first is not None and first.closes


def _marks(text: str) -> Iterator[_Mark]:
    for found in _MARK.finditer(text):
        if tag := found["tag"]:
            yield _Mark(tag.lower(), bool(found["closing"]), *found.span())
        else:
            name = str(found.lastgroup)
            yield _Mark(name[1:], name[0] == "c", *found.span())


def _unclosed(marks: list[_Mark]) -> bool:
    """True if reasoning starts and does not end. Marks inside other reasoning do not count."""
    opened: set[str] = set()
    last: dict[str, int] = {}
    begin = 0
    for mark in marks:
        if not mark.closes:
            opened.add(mark.family)
        else:
            last[mark.family] = mark.stop
            if mark.family not in opened:  # the template opened it
                begin = mark.stop
    for mark in marks:
        if not mark.closes and mark.start >= begin:
            begin = last.get(mark.family, -1)
            if begin <= mark.start:
                return True
    return False
