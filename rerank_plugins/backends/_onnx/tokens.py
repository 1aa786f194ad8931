"""Texts as the tokens of a model, with the package ``tokenizers`` alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

from ..._extras import extra
from ...errors import ModelLoadError, PromptTooLongError
from .._local.limits import NO_LIMIT, require_embeddings
from .._local.loading import first_line
from .._prompts.renderer import Renderer
from .files import Exported

if TYPE_CHECKING:
    from tokenizers import AddedToken, Encoding, Tokenizer

FILE = "tokenizer.json"
_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True, slots=True)
class Row:
    """One pair or text as a model reads it.

    Args:
        ids: Its tokens, special ones too.
        types: For each token the text that it comes from: 0, or 1 in the second of a pair.
        cut: Whether the end of the passage is not among them.
    """

    ids: Sequence[int]
    types: Sequence[int]
    cut: bool = False


class Tokens:
    """The tokenizer of an exported model. Not safe to share between threads without a lock.

    The ids are those of transformers' tokenizer, but for control tokens in texts, which are broken
    up: no text from outside becomes one.

    Args:
        files: The model's files.

    Raises:
        MissingExtraError: ``tokenizers`` is not installed.
        ModelLoadError: The tokenizer's file is missing or damaged.
    """

    def __init__(self, files: Exported) -> None:
        library = extra("tokenizers", "onnx")
        path = files.folder / FILE
        if not path.is_file():
            raise files.missing(FILE)
        try:
            raw: Tokenizer = library.Tokenizer.from_file(str(path))
        except Exception as error:
            raise ModelLoadError(f"{str(path)!r} is damaged: {first_line(error)}") from error
        own = raw.get_vocab_size(with_added_tokens=False)
        config = files.values("config.json")
        require_embeddings(repr(files.name), own, config.get("vocab_size"))
        settings = files.values("special_tokens_map.json") | files.values("tokenizer_config.json")
        _add_missing(raw, settings, library)
        raw.no_padding()
        raw.no_truncation()
        self._raw = raw
        # The renderer's own promise, of a tokenizer without a template.
        reader = _Reader(raw, _named(settings))
        self._escape = Renderer(cast(Any, reader)).escape
        self._query_ids = lru_cache(maxsize=16)(self.ids)  # asked with many passages
        self._form = _Form.of(raw.encode("a", "a"))
        stated = settings.get("model_max_length")
        self.stated_limit = NO_LIMIT
        if isinstance(stated, int) and 0 < stated < NO_LIMIT:  # "none" is written as 1e30
            self.stated_limit = stated
        padding = config.get("pad_token_id")
        named = raw.token_to_id(_content(settings.get("pad_token")))
        self.padding = next((i for i in (padding, named) if isinstance(i, int) and i >= 0), 0)

    def pair(self, query: str, passage: str, limit: int) -> Row:
        """A query and a passage as one row; the passage is cut where they do not fit.

        Args:
            query: The query.
            passage: The passage.
            limit: Tokens of the row at most.

        Raises:
            PromptTooLongError: The query alone leaves no room for the passage.
            CallError: A text keeps producing control tokens.
        """
        asked, judged = self._query_ids(query), self.ids(passage)
        before, between, after = self._form.ids
        room = limit - len(before) - len(asked) - len(between) - len(after)
        cut = len(judged) > room
        if cut and room < 1:
            raise PromptTooLongError(
                1 - room, limit=limit, hint="The query alone fills it: use a shorter query."
            )
        # Assembled here: the tokenizer would keep all of a long passage that is cut off.
        judged = judged[:room] if cut else judged
        ids = [*before, *asked, *between, *judged, *after]
        return Row(ids, self._form.types(len(asked), len(judged)), cut)

    def ids(self, text: str) -> Sequence[int]:
        """The tokens of a text without special ones.

        Raises:
            CallError: The text keeps producing control tokens.
        """
        return self._raw.encode(self._escape(text), add_special_tokens=False).ids

    @cached_property
    def around(self) -> tuple[Sequence[int], Sequence[int]]:
        """The special tokens before and after a text."""
        found: Encoding = self._raw.encode("a")
        own = [i for i, special in enumerate(found.special_tokens_mask) if not special]
        first, last = (own[0], own[-1]) if own else (len(found.ids), len(found.ids))
        return found.ids[:first], found.ids[last + 1 :]


@dataclass(frozen=True, slots=True)
class _Form:
    """The special tokens of a pair: before, between and after its texts.

    Args:
        ids: The tokens of each place.
        special: Their types.
        own: The types of the tokens of each text.
    """

    ids: tuple[Sequence[int], Sequence[int], Sequence[int]]
    special: tuple[Sequence[int], Sequence[int], Sequence[int]]
    own: tuple[int, int]

    @classmethod
    def of(cls, pair: "Encoding") -> "_Form":
        """The form of an encoded pair.

        Raises:
            ModelLoadError: The tokenizer writes no pair, first text first.
        """
        texts = [[i for i, k in enumerate(pair.sequence_ids) if k == text] for text in (0, 1)]
        if not all(texts) or texts[0][-1] > texts[1][0]:
            raise ModelLoadError("the tokenizer does not write the two texts of a pair")
        (a, b), (c, d) = ((where[0], where[-1] + 1) for where in texts)
        ids, types = ((found[:a], found[b:c], found[d:]) for found in (pair.ids, pair.type_ids))
        return cls(ids, types, (pair.type_ids[a], pair.type_ids[c]))

    def types(self, first: int, second: int) -> list[int]:
        """The types of a pair's tokens, of texts with so many tokens."""
        (before, between, after), (a, b) = self.special, self.own
        return [*before, *[a] * first, *between, *[b] * second, *after]


class _Reader:
    """The part of transformers' tokenizers that a `Renderer` uses."""

    chat_template = None

    def __init__(self, raw: "Tokenizer", named: Sequence[str]) -> None:
        self.backend_tokenizer = raw
        self.added_tokens_decoder: dict[int, AddedToken] = raw.get_added_tokens_decoder()
        self.all_special_tokens = named
        self.unk_token_id = next(
            (raw.token_to_id(token) for token in named if "unk" in token.lower()), None
        )

    def get_added_vocab(self) -> dict[str, int]:
        return {token.content: i for i, token in self.added_tokens_decoder.items()}

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self.backend_tokenizer.token_to_id(token)

    def decode(self, ids: Sequence[int], **_: bool) -> str:
        return self.backend_tokenizer.decode(list(ids), skip_special_tokens=False)

    def __call__(self, text: str, *, add_special_tokens: bool, **_: bool) -> dict[str, list[int]]:
        found = self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": found.ids}


def _content(token: object) -> str:
    """The text of a token as configurations have it: plain, or in an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _named(settings: dict[str, Any]) -> list[str]:
    """The special tokens that a configuration names."""
    listed: list[object] = [settings.get(f"{name}_token") for name in _NAMES]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key)
        if isinstance(more, dict):
            listed += more.values()
        elif isinstance(more, list):
            listed += more
    return list(dict.fromkeys(text for text in map(_content, listed) if text))


def _add_missing(raw: "Tokenizer", settings: dict[str, Any], library: Any) -> None:
    """Add the tokens that only the tokenizer's configuration has, as transformers does."""
    decoder = settings.get("added_tokens_decoder")
    stated = list(decoder.values()) if isinstance(decoder, dict) else []
    known = {token.content for token in raw.get_added_tokens_decoder().values()}
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    for token in [*stated, *_named(settings)]:
        text = _content(token)
        if text and text not in known:
            known.add(text)
            given = token if isinstance(token, dict) else {"special": True}
            options = {name: bool(given[name]) for name in flags if name in given}
            raw.add_tokens([library.AddedToken(text, **options)])
