"""Prompts as token ids, with control tokens in text from outside escaped.

Three promises: the text that the model reads is the chat template's own rendering, tokenised as a
whole; its control tokens and role markers are those of the template, in the template's order;
labels are found by token id, in the place where they would stand.
"""

import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain, product
from typing import TYPE_CHECKING, Any

from ...calls import Identifier, Prompt, Untrusted, text_of
from ...errors import CallError, ChatTemplateError, LabelError
from .marks import Mark, find_marks
from .messages import Messages, well_formed, write_out

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTROL_LIKE = re.compile(r"[<>|\[\]\u25c1\u25b7\u27e8\u27e9\uff1c\uff1e\u3010\u3011]")
_UNKNOWN = re.compile(r"\W{0,3}unk(?:nown)?\W{0,3}", re.IGNORECASE)
_ROUNDS = 20
"""Maximum number of times that a text is searched for control tokens to break up: a few are usual,
and no vocabulary may make it endless. What is then left is found among the tokens."""
_TAIL = 16
"""Characters before a label that can influence how it is tokenised; far more than any merge."""
_PROBES = (
    ("user",),
    ("system", "user"),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user"),
)
"""Roles of conversations that show what a template writes."""
_CONTENT = "qzvx"
"""Content of their messages: a text that no template writes."""
_NOT_ESCAPED = "the text holds control tokens of this model that cannot be escaped"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as token ids, and the untrusted parts that were cut to their token limit.

    ``written`` is the prompt as messages, with its texts from outside escaped.
    """

    text: str
    ids: list[int]
    truncated: tuple[int, ...] = ()
    written: Messages | None = field(default=None, compare=False, repr=False)


class Renderer:
    """Renders prompts for one tokenizer. Not safe to share between threads without a lock.

    Args:
        tokenizer: The model's tokenizer.
        chat_template: A Jinja template to use instead of the tokenizer's own.
        options: Variables for the template, such as ``enable_thinking=False``.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        chat_template: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._template = chat_template or tokenizer.chat_template
        self._options = dict(options or {})
        self._expected = lru_cache(maxsize=1024)(self._own_controls)
        self._label_ids = lru_cache(maxsize=1024)(self._find_label_ids)
        self._picked = lru_cache(maxsize=64)(self._pick_identifiers)

    def encode(
        self, prompt: Prompt, continuation: Untrusted | None = None, *, prefill: bool = True
    ) -> Encoded:
        """Encode a prompt, with ``continuation`` after it where given.

        Args:
            prompt: The prompt.
            continuation: Text from outside that follows the prompt.
            prefill: Whether the prompt's prefill is included.

        Raises:
            ChatTemplateError: It is a chat and there is no usable template.
            CallError: The prompt is empty, or text from outside keeps producing control tokens.
        """
        identifiers = self._identifiers(prompt)
        if not prefill:
            prompt = replace(prompt, prefill="")
        failure = CallError(_NOT_ESCAPED)
        for escape in (self._broken_up, self._plain):
            written, outline = write_out(prompt, identifiers, self._first_tokens, escape)
            text = self._render(written)
            if continuation is not None:
                text += escape(continuation.text)
            try:
                ids = self._tokenize(text, special=not prompt.chat)
            except CallError as error:
                failure = error
                continue
            if not ids:
                raise CallError("the prompt is empty, so there is nothing for the model to read")
            if self._controls(ids) == self._expected(outline):
                return Encoded(text, ids, written.truncated, written)
        raise failure

    def passages(self, prompt: Prompt) -> tuple[Encoded, list[tuple[int, int]], int]:
        """Encode a prompt, and find its passages among the tokens.

        Returns:
            The prompt; the first token of each passage, which is that of its label on the same
            line, and the one after its last; and the first token after all passages and the white
            space that follows them. A token belongs to all of whose characters it holds some.

        Raises:
            CallError: As `encode`; or the query does not stand after the passages, the template
                changes the messages, or the tokenizer does not say which characters a token has.
        """
        kinds = [part.kind for part in prompt.untrusted]
        if kinds[-1:] != ["query"] or kinds.count("query") > 1:
            raise CallError("attention needs a prompt whose query stands once, after the passages")
        encoded = self.encode(prompt)
        written = encoded.written
        if written is None or not self.tokenizer.is_fast:
            raise CallError("the tokenizer does not say which characters its tokens stand for")
        starts, before = list[int](), 0
        for _, content in written.messages:  # templates may remove white space at the ends
            found = encoded.text.find(content.strip(), before)
            if found < 0:
                raise CallError("the chat template changes the messages, so no passage is found")
            starts.append(found - (len(content) - len(content.lstrip())))
            before = found + len(content.strip())
        spans, end = list[tuple[int, int]](), 0
        for number, start, stop in written.places[:-1]:
            line = encoded.text.rfind("\n", end, starts[number] + start) + 1
            spans.append((max(line, end, starts[number]), starts[number] + stop))
            end = spans[-1][1]
        rest = len(encoded.text) - len(encoded.text[end:].lstrip())
        offsets = self.tokenizer(
            encoded.text,
            add_special_tokens=not prompt.chat,
            return_offsets_mapping=True,
            verbose=False,
        )["offset_mapping"]
        last, _ = _tokens_of(offsets, rest, len(encoded.text))
        return encoded, [_tokens_of(offsets, *span) for span in spans], last

    def escape(self, text: str) -> str:
        """Escape control tokens in text from outside, for models without a template.

        Raises:
            CallError: It keeps producing control tokens.
        """
        for escape in (self._broken_up, self._plain):
            safe = escape(text)
            if not any(self._controls(self._tokenize(safe, special=False))):
                return safe
        raise CallError(_NOT_ESCAPED)

    def split(self, prompt: Prompt, continuation: Untrusted) -> tuple[Encoded, int]:
        """Prompt and continuation as one sequence, and how many tokens at its end are new.

        They are tokenised together, because a tokenizer may join the last character of one
        with the first of the other; a token that holds both counts as the continuation's.

        Raises:
            CallError: As `encode`; or no token stands before the continuation to predict it.
        """
        before = self.encode(prompt)
        whole = self.encode(prompt, continuation)
        pairs = zip(before.ids, whole.ids, strict=False)
        common = next((i for i, (a, b) in enumerate(pairs) if a != b), len(before.ids))
        if not common:
            raise CallError("no token of the prompt stands before the continuation to predict it")
        return whole, len(whole.ids) - common

    def labels(self, prompt: Prompt, labels: Sequence[str], text: str) -> dict[str, int]:
        """Find the token id of each label as the continuation of ``text``.

        Args:
            prompt: The prompt, whose identifiers may be among the labels.
            labels: The labels, where an identifier goes by its name.
            text: The text that the label follows.

        Raises:
            LabelError: A label is more than one token there, two labels are the same token, or the
                vocabulary has too few identifiers.
        """
        ids = self._label_ids(text[-_TAIL:], self.spellings(prompt, labels))
        return dict(zip(labels, ids, strict=True))

    def spellings(self, prompt: Prompt, labels: Sequence[str]) -> tuple[str, ...]:
        """The texts of ``labels`` in the prompt: an `Identifier` has the text picked for it.

        Raises:
            LabelError: The vocabulary has too few identifiers.
        """
        texts = {Identifier(i).text: text for i, text in enumerate(self._identifiers(prompt))}
        return tuple(texts.get(label, label) for label in labels)

    def control_ids(self, tokens: Sequence[str]) -> frozenset[int]:
        """Find the ids of control tokens, which text from outside cannot write.

        Raises:
            LabelError: One is not a control token of this model.
        """
        if unknown := [token for token in tokens if token not in self._control]:
            raise LabelError(
                f"{unknown[0]!r} is not a control token of this model",
                hint="Use the prompt that the model was trained with.",
            )
        return frozenset(self._control[token] for token in tokens)

    def prefill(self, prompt: Prompt) -> str:
        """The text of the prompt's prefill."""
        picked = self._identifiers(prompt)
        return "".join(picked[p.index] if isinstance(p, Identifier) else p for p in prompt.prefill)

    def _identifiers(self, prompt: Prompt) -> tuple[str, ...]:
        """The texts of a prompt's identifiers."""
        count = prompt.identifiers
        return self._picked(count, text_of(prompt.prefill)[-1:]) if count else ()

    def _pick_identifiers(self, n: int, tail: str) -> tuple[str, ...]:
        """Pick ``n`` texts that are single, distinct tokens after ``tail``."""
        found: dict[int, str] = {}
        # A to Z, AA to ZZ, then AAA to ZZZ: nothing else is escaped in passages.
        for letters in chain(*(product(string.ascii_uppercase, repeat=k) for k in (1, 2, 3))):
            if len(found) == n:
                break
            text = "".join(letters)
            with suppress(LabelError):
                found.setdefault(self._label_id(tail, text), text)
        if len(found) < n:
            raise LabelError(
                f"this model has {len(found)} identifiers of one token, and {n} passages need one",
                hint="Use SlidingWindow or TopDown with a smaller window.",
            )
        return tuple(found.values())

    def _find_label_ids(self, tail: str, labels: tuple[str, ...]) -> tuple[int, ...]:
        ids = tuple(self._label_id(tail, label) for label in labels)
        if len(set(ids)) != len(ids):
            raise LabelError(
                f"{len(labels)} labels are only {len(set(ids))} distinct tokens of this model",
                hint="Use a smaller window or another prompt.",
            )
        return ids

    def _label_id(self, tail: str, label: str) -> int:
        before = self._tokenize(tail, special=False)
        after = self._tokenize(tail + label, special=False)
        known = after[-1:] != [self.tokenizer.unk_token_id]
        if known and after[: len(before)] == before and len(after) == len(before) + 1:
            return after[-1]
        # The label merges with the text before it ("[A" is one token in some vocabularies).
        # After a prefill the model is asked for the bare piece, as in training.
        bare = self.tokenizer.convert_tokens_to_ids(label)
        if isinstance(bare, int) and bare != self.tokenizer.unk_token_id:
            return bare
        raise LabelError(
            f"the label {label!r} is not a single token of this model",
            hint="Use a prompt with letters and windows of at most 26.",
        )

    def _render(self, prompt: Messages) -> str:
        """Apply the chat template, and add the prefill."""
        if not prompt.chat:
            return prompt.text
        if self._template is None:
            raise ChatTemplateError(
                "this model has no chat template",
                hint="Pass chat_template=..., or use a strategy whose prompt is plain text.",
            )
        messages = [{"role": role, "content": content} for role, content in prompt.messages]
        system_first = messages[0]["role"] == "system"
        if system_first and "system" in str(self._template):
            with suppress(Exception):  # some templates refuse the system role by raising
                return self._apply(messages) + prompt.prefill
        try:
            if system_first:  # joined as FIRST and RankLLM do it
                [system, user, *rest] = messages
                joined = f"{system['content']}\n {user['content']}"
                messages = [{"role": "user", "content": joined}, *rest]
            return self._apply(messages) + prompt.prefill
        except Exception as error:
            raise ChatTemplateError(f"the chat template failed: {error}") from error

    def _apply(self, messages: list[dict[str, str]]) -> str:
        rendered = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
            **self._options,
        )
        return str(rendered)

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        try:
            found = self.tokenizer(text, add_special_tokens=special, verbose=False)
        except BaseException as error:
            # A panic of the package `tokenizers`, which is no `Exception`: some texts cause one
            # together with some normalizers, and a document may not stop the program.
            if type(error).__name__ != "PanicException":
                raise
            raise CallError(f"the tokenizer failed at this text: {error}") from error
        return list(found["input_ids"])

    def _first_tokens(self, part: Untrusted) -> str:
        if part.max_tokens is None:
            return part.text
        text = well_formed(part.text)
        ids = self._tokenize(text, special=False)
        if len(ids) <= part.max_tokens:
            return part.text
        return str(self.tokenizer.decode(ids[: part.max_tokens], skip_special_tokens=False))

    @cached_property
    def _written(self) -> list[str]:
        """The texts that the template writes before, between and after messages."""
        template = str(self._template or "")
        # The roles that sentence-transformers gives to the two texts of a pair.
        pairs = (("query", "document"),) if "document" in template else ()
        written: list[str] = []
        for roles in (*_PROBES, *pairs) if template else ():
            with suppress(Exception):  # it may refuse a role
                text = self._apply([{"role": role, "content": _CONTENT} for role in roles])
                written += text.split(_CONTENT)
        return written

    @cached_property
    def _control(self) -> dict[str, int]:
        """Ids of special tokens, and of added tokens that are tags or that the template writes."""
        tokenizer, written = self.tokenizer, self._written
        special = {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special}
        special |= set(tokenizer.all_special_tokens)
        own = {i for text in written for i in self._tokenize(text, special=False)}
        added = {
            t: i
            for t, i in tokenizer.get_added_vocab().items()
            if _CONTROL_LIKE.search(t) or i in own or (t.isupper() and t in str(self._template))
        }
        known = {**added, **{t: tokenizer.convert_tokens_to_ids(t) for t in special}}
        return {t: i for t, i in known.items() if t.strip(" \t\r\n\u2581") and isinstance(i, int)}

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        # "Unknown" controls nothing, and some tokenizers write it for rare words.
        return frozenset(i for t, i in self._control.items() if not _UNKNOWN.fullmatch(t))

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
        """Matches what a text from outside may not hold, before and after it becomes tokens.

        The second is for decoded tokens, and None where their ids tell it all.
        """
        # White space at its ends is no part of what makes a token: put back, it would be found.
        tokens = {t.strip() for t in self._control}
        control = re.compile("|".join(sorted(map(re.escape, tokens), key=len)[::-1]) or r"(?!)")
        plain = find_marks(self._written, control)
        given = {*map(Mark, tokens), *plain}
        given |= {mark._replace(text=self._normalized(mark.text).strip()) for mark in given}
        # Where texts are normalised, others may become the letters of a control token.
        wanted = given if self._normalizer else plain
        read = {mark._replace(text=self._as_read(mark.text)) for mark in wanted}
        return _any_of(given), _any_of(read) if wanted else None

    def _as_read(self, text: str) -> str:
        """A text after it was tokenised and decoded; nothing if tokens are unknown."""
        ids = self._tokenize(text, special=False)
        return "" if self.tokenizer.unk_token_id in ids else self._decode(ids).strip()

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    @property
    def _normalizer(self) -> Any:
        return getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)

    def _normalized(self, text: str) -> str:
        """The text as the tokenizer normalises it, with spaces for sentencepiece's sign."""
        normalizer = self._normalizer
        return normalizer.normalize_str(text).replace("\u2581", " ") if normalizer else text

    def _broken_up(self, text: str) -> str:
        """The text with a space inside each control token and mark: ``<|im_`` -> ``< |im_``."""
        text = well_formed(text)
        pattern, _ = self._patterns

        def broken(found: re.Match[str]) -> str:
            start = len(found[0]) - len(found[0].lstrip())
            first, rest = found[0][: start + 1], found[0][start + 1 :]
            return f"{first} {rest}" if rest.strip() else " "

        for _ in range(_ROUNDS):
            text, count = pattern.subn(broken, text)
            if not count:
                break
        return text

    def _plain(self, text: str) -> str:
        """The text without brackets and without characters that are control tokens by themselves.

        For tokenizers that normalise other texts into a control token, or map characters they do
        not know to one.
        """
        text = unicodedata.normalize("NFKC", self._normalized(self._broken_up(text)))
        text = self._broken_up(_CONTROL_LIKE.sub(" ", self._broken_up(text)))
        single = {c: self._tokenize(c, special=False) for c in set(text)}
        kept = {c for c, ids in single.items() if not self._control_ids.intersection(ids)}
        return "".join(c if c in kept else " " for c in text)

    def _controls(self, ids: Sequence[int]) -> tuple[list[int], list[str]]:
        """The control tokens and the template's plain marks among tokens, each in order."""
        _, seen = self._patterns
        found = seen.findall(self._decode(ids)) if seen else []
        return [i for i in ids if i in self._control_ids], found

    def _own_controls(self, outline: Messages) -> tuple[list[int], list[str]]:
        return self._controls(self._tokenize(self._render(outline), special=not outline.chat))


def _tokens_of(offsets: Sequence[tuple[int, int]], start: int, stop: int) -> tuple[int, int]:
    """The first token with a character from ``start`` to ``stop``, and the one after the last."""
    found = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start and b > a]
    return (found[0], found[-1] + 1) if found else (0, 0)


def _any_of(marks: Iterable[Mark]) -> re.Pattern[str]:
    """Match any of the marks, the longest first."""
    longest_first = sorted((mark for mark in marks if mark.text), key=lambda m: (-len(m.text), m))
    return re.compile("|".join(m.expression() for m in longest_first) or r"(?!)", re.MULTILINE)
