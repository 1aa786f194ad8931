"""Prompts as chat messages.

This is all that a backend needs whose template and tokenizer are a server's. Control tokens can
then only be known by how they are written: text from outside is changed where it looks like a
control token of any known model family.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...calls import Identifier, Prompt, Untrusted
from ...errors import LabelError

CHARACTERS_PER_TOKEN = 4
"""An estimate, about right for English, for limits in tokens where there is no tokenizer."""

_LETTERS = 26
_NAMES = (
    "s|(?:bos|eos|pad|unk|mask|sep|cls|sop|eop|eod|eot)(?:_token|_id)?|think|tools?|tool_calls?"
    "|tool_response|turn|channel|(?:start|end|begin)_?of_?\\w{1,20}|startoftext|endoftext"
    "|im_(?:start|end|sep)|seed:\\w{1,20}|fim_\\w{1,20}|(?:unused|reserved_|extra_id_)\\d{1,4}"
    "|special_\\d{1,4}|0x[0-9a-f]{2}"
)
_BRACKETED = (
    "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK"
    "|MODEL_SETTINGS|PREFIX|MIDDLE|SUFFIX|CONTROL_\\d{1,4}|UNUSED_TOKEN_\\d{1,4}|unused\\d{1,4}"
    "|BOS|EOS|EOT|EOD|CLS|SEP|PAD|[gs]?MASK|UNK"
)
_PIPES = "|\uff5c"
_CONTROL = re.compile(
    rf"<(?=[{_PIPES}])|<(?=/?(?:{_NAMES})>)|(?P<end>(?<=[{_PIPES}])>|(?<=\|)\])"
    rf"|\[(?=/?(?:{_BRACKETED})\])|\[(?=\|)"
    r"|<(?=<SYS>>)|<(?=</SYS>>)"
    r"|\u25c1(?=/?think\u25b7)|\](?=~!?b[\[\]])|\[(?=e~\[)",  # Kimi, MiniMax
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Messages:
    """A prompt as an API takes it.

    Args:
        messages: Role and content of each turn, without the prefill.
        prefill: The beginning of the answer.
        truncated: Which untrusted parts were cut to their ``max_tokens``.
        chat: Whether it is a conversation; else the contents are one text to continue.
        places: The message of each untrusted part, and where it starts and stops in its content.
    """

    messages: tuple[tuple[str, str], ...]
    prefill: str
    truncated: tuple[int, ...] = ()
    chat: bool = True
    places: tuple[tuple[int, int, int], ...] = ()

    @property
    def text(self) -> str:
        """The contents joined: what a model without a template reads."""
        return "\n".join(content for _, content in self.messages) + self.prefill


def to_messages(prompt: Prompt) -> Messages:
    """Write a prompt as messages, with control tokens in text from outside escaped.

    Token limits of untrusted parts are applied by an estimate.

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

    def shorten(part: Untrusted) -> str:
        limit = part.max_tokens
        return part.text if limit is None else part.text[: limit * CHARACTERS_PER_TOKEN]

    letters = [Identifier(i).text for i in range(prompt.identifiers)]
    messages, _ = write_out(prompt, letters, shorten, escape)
    return messages


def write_out(
    prompt: Prompt,
    identifiers: Sequence[str],
    shorten: Callable[[Untrusted], str],
    escape: Callable[[str], str],
) -> tuple[Messages, Messages]:
    """Write out a prompt's parts.

    Args:
        prompt: The prompt.
        identifiers: The text of each identifier.
        shorten: Cuts an untrusted part to its token limit.
        escape: Escapes the control tokens in what is left of it.

    Returns:
        The messages, and the same with "x" in place of every untrusted part.
    """
    contents, outlines, cut = [], [], []
    places: list[tuple[int, int, int]] = []
    for number, message in enumerate(prompt.messages):
        texts, outline = list[str](), list[str]()
        for part in message.parts:
            if isinstance(part, Untrusted):
                kept = shorten(part)
                if kept != part.text:
                    cut.append(len(places))
                start = sum(map(len, texts))
                texts.append(escape(kept))
                places.append((number, start, start + len(texts[-1])))
                outline.append("x")
            else:
                texts.append(part if isinstance(part, str) else identifiers[part.index])
                outline.append(texts[-1])
        contents.append((message.role, "".join(texts)))
        outlines.append((message.role, "".join(outline)))
    prefill = "".join(p if isinstance(p, str) else identifiers[p.index] for p in prompt.prefill)
    return (
        Messages(tuple(contents), prefill, tuple(cut), prompt.chat, tuple(places)),
        Messages(tuple(outlines), prefill, chat=prompt.chat),
    )


def escape(text: str) -> str:
    """Put a space into everything that is written like a control token of a known model family.

    Examples:
        >>> escape("<b>bold</b> <|im_start|>system [/INST] </s>")
        '<b>bold</b> < |im_start| >system [ /INST] < /s>'
    """
    return _CONTROL.sub(
        lambda found: f" {found[0]}" if found["end"] else f"{found[0]} ", well_formed(text)
    )


def well_formed(text: str) -> str:
    """Join pairs of surrogates and replace lone ones: tokenizers refuse anything else."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
