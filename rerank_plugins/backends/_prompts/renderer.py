"""From a prompt to token ids, with text from outside kept harmless.

Three promises: the text the model sees is the chat template's own rendering, tokenised as a
whole; no control token appears that the template did not put there; labels are found by token
id, in the place where they would stand.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...calls import Identifier, Message, Part, Prompt, Untrusted, text_of
from ...errors import CallError, ChatTemplateError, LabelError
from .identifiers import pick_identifiers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTROL_LIKE = re.compile(r"[<>|\[\]]")
_TAIL = 16
"""Characters before a label that can influence how it is tokenised; far more than any merge."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as token ids, and the untrusted parts that were cut to their token limit."""

    text: str
    ids: list[int]
    truncated: tuple[int, ...] = ()


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
        self._control = _control_tokens(tokenizer)
        longest_first = sorted(self._control, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        # "Unknown" controls nothing, and some tokenizers write it for rare words.
        self._control_ids = frozenset(
            i for token, i in self._control.items() if "unk" not in token.lower()
        )
        self._expected = lru_cache(maxsize=1024)(self._count_own_control_tokens)
        self._labels = lru_cache(maxsize=1024)(self._find_label_ids)
        self._picked = lru_cache(maxsize=64)(self._pick_identifiers)

    def encode(self, prompt: Prompt, continuation: Untrusted | None = None) -> Encoded:
        """The token ids of a prompt, with ``continuation`` after it where given.

        Raises:
            ChatTemplateError: It is a chat and there is no usable template.
            CallError: Text from outside keeps producing control tokens.
        """
        prompt = self.spelled(prompt)
        shortened, cut = self._shortened(prompt)
        for harmless in (self._inert, self._plain):
            safe = _map_untrusted(shortened, harmless)
            text = self._render(safe)
            if continuation is not None:
                text += harmless(continuation.text)
            ids = self._tokenize(text, special=not prompt.chat)
            if self._control_count(ids) == self._expected(_map_untrusted(prompt, _placeholder)):
                return Encoded(text, ids, cut)
        raise CallError("the text holds control tokens of this model that cannot be made harmless")

    def harmless(self, text: str) -> str:
        """Text from outside in which nothing is a control token, for models without a template.

        Raises:
            CallError: It keeps producing control tokens.
        """
        for change in (self._inert, self._plain):
            safe = change(text)
            if not self._control_count(self._tokenize(safe, special=False)):
                return safe
        raise CallError("the text holds control tokens of this model that cannot be made harmless")

    def split(self, prompt: Prompt, continuation: Untrusted) -> tuple[Encoded, int]:
        """Prompt and continuation as one sequence, and how many tokens at its end are new.

        They are tokenised together, because a tokenizer may join the last character of one
        with the first of the other; a token that holds both counts as the continuation's.
        """
        before = self.encode(prompt)
        whole = self.encode(prompt, continuation)
        pairs = zip(before.ids, whole.ids, strict=False)
        common = next((i for i, (a, b) in enumerate(pairs) if a != b), len(before.ids))
        return whole, len(whole.ids) - min(common, len(whole.ids))

    def label_ids(self, text: str, labels: tuple[str, ...]) -> tuple[int, ...]:
        """The token id of each label as the continuation of ``text``.

        Raises:
            LabelError: A label is more than one token there, or two labels are the same token.
        """
        return self._labels(text[-_TAIL:], labels)

    def spellings(self, prompt: Prompt, labels: tuple[str, ...]) -> tuple[str, ...]:
        """How ``labels`` are written: those that name an `Identifier` as it was spelled.

        Raises:
            LabelError: The vocabulary has too few identifiers.
        """
        picked = self._picked(prompt.identifiers, text_of(prompt.prefill)[-1:])
        spelled = {Identifier(i).text: spelling for i, spelling in enumerate(picked)}
        return tuple(spelled.get(label, label) for label in labels)

    def spelled(self, prompt: Prompt) -> Prompt:
        """The prompt with every identifier as text."""
        if not prompt.identifiers:
            return prompt
        picked = self._picked(prompt.identifiers, text_of(prompt.prefill)[-1:])

        def spell(part: Part) -> Part:
            return picked[part.index] if isinstance(part, Identifier) else part

        prefill = text_of([spell(part) for part in prompt.prefill])
        return replace(_map_parts(prompt, spell), prefill=prefill)

    def _pick_identifiers(self, n: int, tail: str) -> tuple[str, ...]:
        def token_id(spelling: str) -> int | None:
            try:
                return self._label_id(tail, spelling)
            except LabelError:
                return None

        return pick_identifiers(n, token_id)

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
        # The label merges with what stands before it ("[A" is one token in some vocabularies).
        # After a prefill the model is asked for the bare piece, as in training.
        bare = self.tokenizer.convert_tokens_to_ids(label)
        if isinstance(bare, int) and bare != self.tokenizer.unk_token_id:
            return bare
        raise LabelError(
            f"the label {label!r} is not a single token of this model",
            hint="Use a prompt with letters and windows of at most 26.",
        )

    def _render(self, prompt: Prompt) -> str:
        if not prompt.chat:
            return prompt.text
        if self._template is None:
            raise ChatTemplateError(
                "this model has no chat template",
                hint="Pass chat_template=..., or use a strategy whose prompt is plain text.",
            )
        messages = [{"role": m.role, "content": m.text} for m in prompt.messages]
        if messages[0]["role"] == "system" and "system" not in str(self._template):
            messages = _system_in_user(messages)
        try:
            return self._apply(messages) + text_of(prompt.prefill)
        except Exception as error:
            if messages[0]["role"] != "system":
                raise ChatTemplateError(f"the chat template failed: {error}") from error
        try:  # some templates refuse the system role by raising
            return self._apply(_system_in_user(messages)) + text_of(prompt.prefill)
        except Exception as error:
            raise ChatTemplateError(f"the chat template failed: {error}") from error

    def _apply(self, messages: Sequence[Mapping[str, str]]) -> str:
        rendered = self.tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
            **self._options,
        )
        return str(rendered)

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def _shortened(self, prompt: Prompt) -> tuple[Prompt, tuple[int, ...]]:
        """Cut the untrusted parts that have a token limit, and say which were cut."""
        cut: list[int] = []
        count = iter(range(len(prompt.untrusted)))

        def limit(part: Part) -> Part:
            if not isinstance(part, Untrusted):
                return part
            position = next(count)
            text = self._first_tokens(part)
            if text != part.text:
                cut.append(position)
            return replace(part, text=text)

        shortened = _map_parts(prompt, limit)
        return shortened, tuple(cut)

    def _first_tokens(self, part: Untrusted) -> str:
        if part.max_tokens is None:
            return part.text
        text = _well_formed(part.text)
        ids = self._tokenize(text, special=False)
        if len(ids) <= part.max_tokens:
            return part.text
        return str(self.tokenizer.decode(ids[: part.max_tokens], skip_special_tokens=False))

    def _inert(self, text: str) -> str:
        """Break up the spelling of every control token: ``<|im_end|>`` -> ``< |im_end|>``."""
        text = _well_formed(text)
        while self._pattern.search(text):
            text = self._pattern.sub(_broken, text)
        return text

    def _plain(self, text: str) -> str:
        """The last resort: no brackets, and no character that is a control token by itself.

        Reached where a tokenizer normalises other spellings into a control token, or maps
        characters it does not know to one.
        """
        text = unicodedata.normalize("NFKC", self._inert(text))
        text = _CONTROL_LIKE.sub(" ", text)
        kept = {c for c in set(text) if not self._control_count(self._tokenize(c, special=False))}
        return "".join(c if c in kept else " " for c in text)

    def _control_count(self, ids: Sequence[int]) -> int:
        return sum(i in self._control_ids for i in ids)

    def _count_own_control_tokens(self, skeleton: Prompt) -> int:
        ids = self._tokenize(self._render(skeleton), special=not skeleton.chat)
        return self._control_count(ids)


def _control_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """Special tokens, and added tokens that look like control tokens, with their ids."""
    special = set(tokenizer.all_special_tokens)
    special |= {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special}
    added = {t: i for t, i in tokenizer.get_added_vocab().items() if _CONTROL_LIKE.search(t)}
    named = {t: tokenizer.convert_tokens_to_ids(t) for t in special}
    return {t: i for t, i in {**added, **named}.items() if t.strip() and isinstance(i, int)}


def _well_formed(text: str) -> str:
    """Pairs of surrogates joined, lone ones replaced: tokenizers refuse anything else."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _broken(match: re.Match[str]) -> str:
    token = match[0]
    return f"{token[0]} {token[1:]}" if len(token) > 1 else " "


def _system_in_user(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """For templates without a system role: the way FIRST and RankLLM join the two."""
    system, user, *rest = messages
    joined = {"role": "user", "content": f"{system['content']}\n {user['content']}"}
    return [joined, *map(dict, rest)]


def _placeholder(_: str) -> str:
    return "x"


def _map_untrusted(prompt: Prompt, change: Any) -> Prompt:
    return _map_parts(
        prompt, lambda p: Untrusted(change(p.text), p.kind) if isinstance(p, Untrusted) else p
    )


def _map_parts(prompt: Prompt, change: Any) -> Prompt:
    messages = tuple(Message(m.role, tuple(map(change, m.parts))) for m in prompt.messages)
    return Prompt(messages, prompt.prefill, prompt.chat)
