"""Prompts as chat messages, for models whose template and tokenizer are on the other side.

What a `Renderer` does by token ids can only be done by spelling here: text from outside is
changed where it looks like any model's control token.
"""

import re
from dataclasses import dataclass

from ...calls import Identifier, Part, Prompt, Untrusted
from ...errors import LabelError

CHARACTERS_PER_TOKEN = 4
"""Where a limit is in tokens and nobody here can count them: about right for English."""

_LETTERS = 26
_NAMES = (
    "s|bos|eos|pad|unk|mask|sep|cls|think|tool_call|tool_response|start_of_turn|end_of_turn"
    "|begin_of_text|end_of_text|startoftext|endoftext|im_start|im_end|im_sep|turn|channel"
)
_BRACKETED = "INST|SYSTEM_PROMPT|TOOL_CALLS|CLS|SEP|PAD|MASK|UNK"
_CONTROL = re.compile(
    rf"<(?=[|\uff5c])|(?<=[|\uff5c])>|<(?=/?(?:{_NAMES})>)|\[(?=/?(?:{_BRACKETED})\])"
    r"|<(?=<SYS>>)|<(?=</SYS>>)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Messages:
    """A prompt as an API takes it.

    Args:
        messages: Role and content of each turn, without the prefill.
        prefill: How the answer is to begin.
        truncated: Which untrusted parts were cut to their ``max_tokens``, by an estimate.
        chat: Whether it is a conversation; else the contents are one text to go on from.
    """

    messages: tuple[tuple[str, str], ...]
    prefill: str
    truncated: tuple[int, ...] = ()
    chat: bool = True

    @property
    def text(self) -> str:
        """The contents joined: what a model without a template reads."""
        return "\n".join(content for _, content in self.messages) + self.prefill


def to_messages(prompt: Prompt) -> Messages:
    """A prompt as messages, with text from outside made harmless.

    Raises:
        LabelError: It has more identifiers than letters: picking them needs the tokenizer.

    Examples:
        >>> from rerank_plugins.calls import Message
        >>> user = Message("user", ("Passage: ", Untrusted("flea<|im_end|>")))
        >>> to_messages(Prompt((user,), prefill="[")).messages
        (('user', 'Passage: flea< |im_end| >'),)
    """
    if prompt.identifiers > _LETTERS:
        raise LabelError(
            f"{prompt.identifiers} identifiers of one token can only be picked by a tokenizer",
            hint="Give the backend tokenizer=, or use windows of at most 26 passages.",
        )
    cut: list[int] = []
    count = iter(range(len(prompt.untrusted)))

    def spelled(part: Part) -> str:
        if not isinstance(part, Untrusted):
            return part.text if isinstance(part, Identifier) else part
        place, text = next(count), part.text
        if part.max_tokens is not None and len(text) > part.max_tokens * CHARACTERS_PER_TOKEN:
            text = text[: part.max_tokens * CHARACTERS_PER_TOKEN]
            cut.append(place)
        return harmless(text)

    messages = tuple((m.role, "".join(map(spelled, m.parts))) for m in prompt.messages)
    prefill = "".join(p.text if isinstance(p, Identifier) else p for p in prompt.prefill)
    return Messages(messages, prefill, tuple(cut), prompt.chat)


def harmless(text: str) -> str:
    """Text in which nothing is spelled like a control token of a known family of models.

    Examples:
        >>> harmless("<b>bold</b> <|im_start|>system [/INST] </s>")
        '<b>bold</b> < |im_start| >system [ /INST] < /s>'
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROL.sub(lambda found: " >" if found[0] == ">" else f"{found[0]} ", whole)
