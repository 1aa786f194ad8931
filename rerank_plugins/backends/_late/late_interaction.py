"""`LateInteractionBackend`: scores by late interaction, or by the cosine of pooled vectors."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

from ..._checks import at_least, is_blank, listed, one_of
from ..._extras import extra
from ..._loading import loading
from ..._shipped import weights_of
from ..._threads import abandoned
from ...calls import Call, Reply, ScorePair
from ...errors import (
    CallError,
    ConfigurationError,
    InputError,
    MissingExtraError,
    ModelLoadError,
    ModelOutputError,
)
from .._base import SECRET, Answers, LocalModel, Table, in_order
from .._local.loading import chosen_device
from .._onnx.encoder import OnnxEncoder
from .._onnx.files import Exported, find_exported
from .._onnx.session import Device as OnnxDevice
from .cache import VectorCache
from .checkpoint import Published, file_reader, published, trained_weights
from .colbert import ColBERTEncoder, load_colbert
from .encoding import Encoded, PlainEncoder, Recipe, Role, TokenEncoder
from .packing import Packed, Precision, Total, pack, similarity
from .store import Kind, TokenVectors, in_memory, record, text_digest, write_file
from .torch_encoder import hub_reader, load_torch_encoder

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import MultiVectorEncoder

Vectors = Literal["tokens", "pooled"]
Engine = Literal["auto", "onnx", "torch"]
_CHARACTERS = 512
"""Characters of a text on average, for the size of what runs together."""


@dataclass(eq=False, repr=False, kw_only=True)
class LateInteractionBackend(LocalModel["_Loaded"]):
    """Answers `ScorePair` with the similarity of vectors that an encoder gave to each text alone.

    Late interaction: the mean, over the query's tokens, of the best cosine with a token of the
    passage, from -1 to 1 (``score_kind="similarity"``). A passage is encoded once and its vectors
    are kept, so that scoring it again costs a product of matrices. A blank passage has the lowest
    score there is (-1), and comes after every passage with text. Text from queries and passages
    can never become a control token. One instance may be shared by threads: they take turns.

    Checkpoints that were trained for it (ColBERT and its relatives) are read as they were trained:
    markers, masks that expand a query, words that are skipped. Other encoders need no training.

    Args:
        model: A hub id, a folder, or a loaded ``MultiVectorEncoder``.
        vectors: ``"tokens"``, or ``"pooled"`` for the cosine of one vector a text, as the encoder
            was trained (one a part, where a passage is read in parts: the best part counts).
        total: ``"sum"`` gives the sum over the query's tokens, as ColBERT's authors publish it: the
            same order within a query, and no common scale across queries.
        engine: ``"onnx"`` runs exported weights under onnxruntime, without torch; ``"torch"`` the
            checkpoint's own; ``"auto"`` exported ones where there are some and onnxruntime is
            installed. ColBERT and its relatives need torch.
        precision: For exported weights: ``"fp32"``, ``"int8"``, or ``"auto"``: 32 bits where there
            are both.
        threads: For exported weights, the threads of a forward pass; when None, what
            ``OMP_NUM_THREADS`` says, or else one for each core.
        device: ``"auto"`` (CUDA, then Apple's MPS, then CPU) or a torch device; for exported
            weights ``"auto"``, ``"cpu"`` or ``"cuda"``.
        dtype: ``"auto"`` (float32 on a CPU, the checkpoint's own elsewhere) or a torch dtype; only
            for torch, and refused with exported weights.
        max_tokens: Tokens of a passage that are read. Longer ones are cut; replies say so, and the
            first time the log.
        part_tokens: Tokens that are read together, with special ones; what the encoder was trained
            on when None. Longer passages are read in parts of equal length.
        query_prefix: Stands before a query, for plain encoders; what the encoder states when None.
        passage_prefix: As ``query_prefix``, for passages.
        batch_size: Texts of about 500 characters that run together, where the device is not a CPU.
        cache_precision: The type in which passages' vectors are kept: ``"int8"``, ``"float16"`` or
            ``"float32"``; ``"auto"`` is int8 for tokens, and float32 for pooled vectors, and takes
            prepared vectors of any type. Scores are computed from what is kept, so they do not
            change when a passage is forgotten.
        cache_bytes: Bytes of vectors in memory at most; those used last are kept. A passage with
            more is encoded each time, or read from ``cache_folder``.
        cache_folder: A folder that keeps vectors for other processes too, and for this one when
            memory is full. It grows with every new passage. ``~`` is the home folder.
        prepared: Vectors of a collection: a file that ``rerank-plugins prepare`` wrote, or what
            `prepare` returned. ``~`` is the home folder.
        revision: The hub revision.
        token: For private models: the token, or a function that gives it. Never shown.

    Raises:
        InputError: An argument is out of range; when the model is loaded also if the vectors of
            ``cache_folder`` or ``prepared`` are damaged or of another model, or the prepared ones
            are not of the ``cache_precision`` that was given.
        MissingExtraError, ModelLoadError, ConfigurationError: When the model is loaded. A language
            model or a classifier is refused.

    References:
        Khattab and Zaharia, ColBERT, arXiv:2004.12832, 2020.

    Examples:
        >>> LateInteractionBackend("sentence-transformers/all-MiniLM-L6-v2")  # nothing is loaded
        LateInteractionBackend('sentence-transformers/all-MiniLM-L6-v2', vectors='tokens')
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({ScorePair})
    _shown: ClassVar[tuple[str, ...]] = ("vectors",)

    model: "str | Path | MultiVectorEncoder" = field(kw_only=False)
    vectors: Vectors = "tokens"
    total: Total = "mean"
    engine: Engine = "auto"
    precision: Literal["auto", "fp32", "int8"] = "auto"
    threads: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    max_tokens: int = 512
    part_tokens: int | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    batch_size: int = 32
    cache_precision: Precision | Literal["auto"] = "auto"
    cache_bytes: int = 256 * 2**20
    cache_folder: str | None = None
    prepared: "str | TokenVectors | None" = None
    revision: str | None = None
    token: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise InputError("model is None", hint="Give a hub id, a folder or a loaded encoder.")
        one_of("vectors", self.vectors, get_args(Vectors))
        one_of("total", self.total, get_args(Total))
        one_of("engine", self.engine, get_args(Engine))
        one_of("precision", self.precision, ("auto", "fp32", "int8"))
        one_of("cache_precision", self.cache_precision, ("auto", *get_args(Precision)))
        at_least(1, max_tokens=self.max_tokens, batch_size=self.batch_size)
        at_least(8, none=True, part_tokens=self.part_tokens)
        at_least(1, none=True, threads=self.threads)
        at_least(0, cache_bytes=self.cache_bytes)
        self.cache_folder = _path("cache_folder", self.cache_folder, "a folder")
        if not isinstance(self.prepared, TokenVectors):
            self.prepared = _path("prepared", self.prepared, "a file, TokenVectors")

    def prepare(self, passages: Iterable[str], path: str | Path | None = None) -> TokenVectors:
        """Encode a collection's passages; this backend looks into their vectors from now on.

        Args:
            passages: The texts as they will be asked about: with a strategy that writes titles into
                them, use `rerank_plugins.Reranker.prepare`.
            path: A file to write; vectors that are not written take as much memory.

        Raises:
            InputError: The file cannot be written, or a passage is not a string.
            CallError: A passage cannot be encoded.
        """
        everything = listed("passages", passages, str)
        with self._turn:
            ready = self._loaded_now()
            kind, seen = ready.kind(), set[bytes]()

        def records() -> Iterator[bytes]:
            for group in _groups(everything, self.batch_size):
                texts = [text for text in dict.fromkeys(group) if text_digest(text) not in seen]
                with self._turn:
                    found = ready.vectors(texts, keep=False)[0]
                for text in texts:
                    packed = found[text]
                    if isinstance(packed, CallError):
                        raise packed
                    seen.add(text_digest(text))
                    yield record(text_digest(text), packed)

        if path is None:
            prepared = in_memory(kind, records())
        else:
            write_file(Path(path), kind, records())
            prepared = TokenVectors.load(path)
        with self._turn:
            ready.cache.add(prepared)
        return prepared

    def embed(self, texts: Sequence[str], role: Role = "passage") -> "np.ndarray[Any, Any]":
        """One vector a text, for an index: of a text that is read in parts, their mean.

        Args:
            texts: Queries or passages.
            role: Which of both they are.

        Returns:
            Shape ``(len(texts), dim)``, float32, rows of length 1.

        Raises:
            ConfigurationError: The encoder's vectors are those of tokens.
            InputError: A text is not a string.
            CallError: A text cannot be encoded.
        """
        import numpy as np

        one_of("role", role, get_args(Role))
        given = listed("texts", texts, str)
        if self.vectors != "pooled":
            raise InputError("vectors is 'tokens'", hint="Use a backend with vectors='pooled'.")
        with self._turn:
            ready = self._loaded_now()
        rows = []
        for group in _groups(given, self.batch_size):
            with self._turn:
                found = ready.encode(group, role)
            for one in found:
                if isinstance(one, CallError):
                    raise one
                mean = one.vectors.mean(axis=0)
                rows.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        return np.stack(rows) if rows else np.empty((0, ready.kind().dim), np.float32)

    def _loaded_now(self) -> "_Loaded":
        with loading(), self._lock:
            return self._ready()

    def _load(self) -> "_Loaded":
        return _Loaded(self, self._encoder())

    def _encoder(self) -> TokenEncoder:
        if not isinstance(self.model, str):
            return self._colbert(self.model)
        source: dict[str, Any] = {"revision": self.revision, "token": self._hub_token()}
        files = self._exported()
        model = trained_weights(weights_of(self.model))
        read = file_reader(self.model, files.folder) if files else hub_reader(model, **source)
        stated = published(self.model, read)
        self._require_used(None if stated.colbert else files)
        options = {"device": self.device, "dtype": self.dtype, **source}
        if stated.colbert:
            return self._colbert(load_colbert(model, **options))
        if files is None:
            hidden = load_torch_encoder(model, **options)
            return PlainEncoder(hidden, self._recipe(stated, hidden.limit))
        device = cast(OnnxDevice, self.device)
        exported = OnnxEncoder.of(
            files, device=device, threads=self.threads, projected=self.vectors == "tokens"
        )
        return PlainEncoder(exported, self._recipe(stated, exported.limit))

    def _exported(self) -> "Exported | None":
        """The exported weights, where they should run.

        Raises:
            MissingExtraError, ModelLoadError: There are none, or onnxruntime is not installed, and
                torch should not or cannot run.
        """
        if self.engine == "torch" or self.device not in get_args(OnnxDevice):
            if self.engine == "onnx":
                one_of("device", self.device, get_args(OnnxDevice))
            extra("torch", "transformers")
            chosen_device(self.device)  # an error before the hub is asked
            return None
        try:
            extra("onnxruntime", "onnx")
            model = weights_of(str(self.model))
            return find_exported(
                model, self.precision, revision=self.revision, token=self._hub_token
            )
        except (MissingExtraError, ModelLoadError):
            # Other weights than were asked for are no way out.
            wanted = self.engine == "onnx" or self.precision != "auto"
            if wanted or find_spec("torch") is None:
                raise
            return None

    def _require_used(self, files: "Exported | None") -> None:
        """Refuse arguments that the engine would ignore.

        Raises:
            ConfigurationError: There is such an argument.
        """
        if files is not None and self.dtype != "auto":
            raise ConfigurationError(
                f"dtype is {self.dtype!r}, and exported weights run in the type they were "
                "exported in",
                hint="Leave dtype out, or give engine='torch'.",
            )
        if files is None and self.precision != "auto":
            raise ConfigurationError(
                f"precision is {self.precision!r}, and torch runs the checkpoint's own weights",
                hint="Give dtype in its place, or engine='onnx'.",
            )

    def _colbert(self, model: Any) -> ColBERTEncoder:
        """Wrap a multi-vector encoder."""
        library = extra("sentence_transformers", "cross-encoder")
        if not isinstance(model, library.MultiVectorEncoder):
            raise ModelLoadError(
                f"{type(model).__name__} is not a MultiVectorEncoder",
                hint="Give the hub id or the folder of the encoder.",
            )
        if self.vectors != "tokens":
            raise ModelLoadError(
                f"{self!r} was trained for late interaction, and its pooled vectors mean nothing",
                hint="Leave vectors out.",
            )
        return ColBERTEncoder(model, max_tokens=self.max_tokens, part_tokens=self.part_tokens)

    def _recipe(self, stated: Published, limit: int) -> Recipe:
        """The way in which a plain encoder reads texts."""
        if self.vectors == "pooled" and stated.pooling is None:
            raise ModelLoadError(
                f"{self!r} does not say that its vectors are means or first tokens",
                hint="Use vectors='tokens', or an encoder of sentence-transformers.",
            )
        if self.part_tokens is not None and self.part_tokens > limit:
            raise InputError(
                f"part_tokens is {self.part_tokens}, and the model reads {limit} tokens at most",
                hint="Leave part_tokens out for what the model was trained on.",
            )
        own = (self.query_prefix, self.passage_prefix)
        prefixes = (stated.query_prefix, stated.passage_prefix)
        query, passage = (p if o is None else o for o, p in zip(own, prefixes, strict=True))
        return Recipe(
            part_tokens=self.part_tokens or min(stated.part_tokens or limit, limit),
            max_tokens=self.max_tokens,
            pooling=stated.pooling if self.vectors == "pooled" else None,
            query_prefix=query,
            passage_prefix=passage,
        )


class _Loaded:
    """A loaded encoder and the vectors of the passages that it encoded."""

    def __init__(self, options: LateInteractionBackend, encoder: TokenEncoder) -> None:
        self._options, self._encoder = options, encoder
        small: Precision = "int8" if options.vectors == "tokens" else "float32"
        self._precision = small if options.cache_precision == "auto" else options.cache_precision
        prepared = options.prepared
        if isinstance(prepared, str):
            prepared = TokenVectors.load(_expanded("prepared", prepared))
        if prepared is not None:
            self._require_precision(prepared)
        folder = options.cache_folder
        self.cache = VectorCache(
            self.kind,
            options.cache_bytes,
            folder=_expanded("cache_folder", folder) if folder else None,
            prepared=[] if prepared is None else [prepared],
        )

    def _require_precision(self, prepared: TokenVectors) -> None:
        asked, found = self._options.cache_precision, prepared.kind.precision
        if asked not in ("auto", found):
            where = f" in {str(prepared.path)!r}" if prepared.path else ""
            raise InputError(
                f"cache_precision is {asked!r}, and the prepared vectors{where} are {found!r}",
                hint="Leave cache_precision out, or prepare the passages with it.",
            )

    def kind(self) -> Kind:
        """The kind of the vectors, as files state it."""
        return Kind(self._encoder.key, self._encoder.dim, self._precision)

    @property
    def table(self) -> Table:
        return {ScorePair: self.score}

    def score(self, calls: Sequence[ScorePair]) -> Answers:
        """The similarity of each pair; the reply to the first one has the tokens of its query."""
        replies: dict[int, Reply[Any] | CallError] = {}
        first = {call.query: i for i, call in reversed(list(enumerate(calls)))}
        asked = dict(zip(first, self.encode(list(first), "query"), strict=True))
        by_length = sorted(range(len(calls)), key=lambda i: len(calls[i].passage))
        for group in _groups([calls[i].passage for i in by_length], self._options.batch_size):
            if abandoned():
                break
            chosen, by_length = by_length[: len(group)], by_length[len(group) :]
            passages, read = self.vectors(
                [text for text in dict.fromkeys(group) if not is_blank(text)]
            )
            for i in chosen:
                query, passage = asked[calls[i].query], passages.get(calls[i].passage)
                cost = read.pop(calls[i].passage, 0)
                if first[calls[i].query] == i and isinstance(query, Encoded):
                    cost += query.tokens
                replies[i] = self._reply(query, passage, cost)
        return in_order(replies, calls)

    def _reply(
        self, query: Encoded | CallError, passage: Packed | CallError | None, cost: int
    ) -> Reply[float] | CallError:
        """The reply to a pair; a passage without vectors is blank, and as unlike as can be."""
        if isinstance(query, CallError):
            return query
        if isinstance(passage, CallError):
            return passage
        if passage is None:
            lowest = -1.0 if self._options.total == "mean" else -float(len(query.vectors))
            return Reply(lowest, cost, 0, (0,) if query.truncated else (), "similarity")
        score = similarity(query.vectors, passage, self._options.total)
        if not math.isfinite(score):
            return ModelOutputError(f"the similarity is {score}", hint="Try dtype='float32'.")
        cut = (0,) if query.truncated or passage.truncated else ()
        return Reply(score, cost, 0, cut, "similarity")

    def vectors(
        self, texts: Sequence[str], *, keep: bool = True
    ) -> tuple[Mapping[str, Packed | CallError], dict[str, int]]:
        """The vectors of passages.

        Args:
            texts: Distinct passages.
            keep: Whether new ones are kept.

        Returns:
            The vectors of each, and the tokens that were read for those that are new.
        """
        found: dict[str, Packed | CallError] = {}
        for text in texts:
            if (known := self.cache.get(text)) is not None:
                found[text] = known
        new, read = [text for text in texts if text not in found], dict[str, int]()
        for text, one in zip(new, self.encode(new, "passage") if new else (), strict=True):
            if isinstance(one, CallError):
                found[text] = one
                continue
            packed = found[text] = pack(one, self._precision)
            read[text] = one.tokens
            if keep:
                self.cache.put(text, packed)
        return found, read

    def encode(self, texts: Sequence[str], role: Role) -> list[Encoded | CallError]:
        """The vectors of texts that run together; the error of each that cannot be encoded."""
        import numpy as np

        try:
            found = self._encoder.encode(texts, role)
        except CallError as error:
            if len(texts) == 1:
                return [error]
            return [one for text in texts for one in self.encode([text], role)]
        wrong = ModelOutputError("the vectors are not finite", hint="Try dtype='float32'.")
        return [one if np.isfinite(one.vectors).all() else wrong for one in found]


def _path(name: str, value: object, expected: str) -> str | None:
    """A path as a string, or None.

    Raises:
        InputError: It is something else.
    """
    if value is not None and not isinstance(value, str | Path):
        raise InputError(f"{name} is {value!r:.80}, expected {expected} or None")
    return None if value is None else str(value)


def _expanded(name: str, path: str) -> Path:
    """A path with the home folder in place of ``~``.

    Raises:
        InputError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{name} is {path!r}: {error}", hint="Give the whole path.") from error


def _groups(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """Cut texts into lists of at most ``size``, and of a total length that fits this size.

    Examples:
        >>> [len(group) for group in _groups(["a"] * 5 + ["b" * 3000], size=4)]
        [4, 1, 1]
    """
    group, room = list[str](), size * _CHARACTERS
    for text in texts:
        if group and (len(group) == size or room < len(text)):
            yield group
            group, room = [], size * _CHARACTERS
        group.append(text)
        room -= len(text)
    if group:
        yield group
