"""Exported cross-encoders and sequence classifiers, under onnxruntime."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, get_args

from ..._checks import at_least, one_of
from ..._threads import abandoned
from ...calls import Call, Reply, ScorePair
from ...errors import BackendError, CallError, InputError, ModelLoadError, ModelOutputError
from .._base import SECRET, Answers, LocalModel, Table, in_order, prepared
from .._local.limits import fitting
from .._local.loading import first_line
from .._local.sharing import batches
from .configuration import labels, positions
from .files import CONFIG, Exported, Precision, find_exported
from .graph import last_operation
from .session import Device, Session
from .tokens import Row, Tokens

_ACTIVATIONS = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "LogSoftmax", "Tanh"})
_ONE_OUTPUT_A_PAIR = 2
"""Dimensions of such an output: pairs, and one number."""


@dataclass(eq=False, repr=False, kw_only=True)
class OnnxCrossEncoderBackend(LocalModel["_Loaded"]):
    """Answers `ScorePair` with the raw logit of an exported cross-encoder, without torch.

    It needs onnxruntime and tokenizers only (``pip install "rerank-plugins[onnx]"``), starts in a
    fraction of a second, and has the scores of `CrossEncoderBackend`. Text from queries and
    passages can never become a control token such as ``[SEP]``. A query is never cut: one that
    leaves no room for its passage is answered by a `PromptTooLongError`. One instance may be shared
    by threads: they take turns. A forked process loads its own weights.

    Args:
        model: A folder, an ``.onnx`` file, or a hub id, with weights under one of the hub's usual
            names, such as ``onnx/model.onnx``. ``rerank-plugins export`` makes such a folder.
        precision: ``"fp32"``, ``"int8"``, or ``"auto"``: 32 bits where there are both.
        device: ``"auto"`` (CUDA where this onnxruntime has it, then CPU), ``"cpu"`` or ``"cuda"``.
        threads: Threads of a forward pass; when None, what ``OMP_NUM_THREADS`` says, or else one
            for each core.
        max_tokens: Tokens of query and passage together, at most the model's positions; the model's
            own limit when None. The passages of longer pairs are cut; replies say so, and the first
            time the log.
        query_template: The form of a query that the model was trained on, with ``{query}``.
        passage_template: The form of a passage, with ``{passage}``.
        batch_size: Pairs that run together, where the device is not a CPU. There they run alone: it
            is fastest, and no score depends on the other pairs.
        revision: The hub revision.
        token: For private models: the token, or a function that gives it. Never shown.

    Raises:
        InputError: An argument is out of range; ``max_tokens`` when the model is loaded.
        MissingExtraError, ModelLoadError, ConfigurationError: When the model is loaded. An encoder,
            a language model, a classifier of several labels, and weights whose output is a
            probability are refused.

    Examples:
        >>> OnnxCrossEncoderBackend("cross-encoder/ms-marco-MiniLM-L6-v2")  # nothing is loaded yet
        OnnxCrossEncoderBackend('cross-encoder/ms-marco-MiniLM-L6-v2', precision='auto')
    """

    kinds: ClassVar[frozenset[type[Call[object]]]] = frozenset({ScorePair})
    _shown: ClassVar[tuple[str, ...]] = ("precision",)

    model: str | Path = field(kw_only=False)
    precision: Precision = "auto"
    device: Device = "auto"
    threads: int | None = None
    max_tokens: int | None = None
    query_template: str = "{query}"
    passage_template: str = "{passage}"
    batch_size: int = 32
    revision: str | None = None
    token: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.model, str) or not self.model:
            raise InputError(
                f"model is {self.model!r}", hint="Give a hub id, a folder or an .onnx file."
            )
        one_of("precision", self.precision, get_args(Precision))
        one_of("device", self.device, get_args(Device))
        at_least(1, batch_size=self.batch_size)
        at_least(1, none=True, threads=self.threads, max_tokens=self.max_tokens)
        if "{query}" not in self.query_template or "{passage}" not in self.passage_template:
            raise InputError("the templates need the fields {query} and {passage}")

    def _load(self) -> "_Loaded":
        files = find_exported(
            str(self.model), self.precision, revision=self.revision, token=self._hub_token
        )
        config = files.values(CONFIG, needed=True)
        tokens = Tokens(files)
        own = positions(config)
        limit = fitting("max_tokens", self.max_tokens, own)
        if self.max_tokens is None:
            limit = min(limit, tokens.stated_limit)
        session = Session(files, self.device, self.threads, tokens.padding)
        output = _logits(files, session, labels(config))
        templates = (self.query_template, self.passage_template)
        size = 1 if session.on_cpu else self.batch_size
        return _Loaded(session, output, tokens, limit, size, templates)


def _logits(files: Exported, session: Session, labels: int | None) -> str:
    """The name of the output that holds one logit a pair.

    Raises:
        ModelLoadError: There is none.
    """
    name, shape = next(iter(session.outputs.items()))
    if len(shape) != _ONE_OUTPUT_A_PAIR:
        raise ModelLoadError(
            f"{files.name!r} does not score pairs: its output {name!r} has {len(shape)} dimensions",
            hint="Give a cross-encoder: a sequence classifier with one label.",
        )
    counts = {n for n in (shape[1], labels) if isinstance(n, int)}
    if counts != {1}:
        raise ModelLoadError(
            f"{files.name!r} has {max(counts, default='an unknown number of')} labels, and a "
            "relevance score is one number",
            hint="Use a model that was trained to score pairs.",
        )
    if (operation := last_operation(files.weights, name)) in _ACTIVATIONS:
        raise ModelLoadError(
            f"the exported weights of {files.name!r} end in {operation}, so that good passages tie",
            hint="Export its logits: `rerank-plugins export MODEL FOLDER`.",
        )
    return name


class _Loaded:
    """A loaded cross-encoder and its tokenizer."""

    def __init__(
        self,
        session: Session,
        output: str,
        tokens: Tokens,
        limit: int,
        size: int,
        templates: tuple[str, str],
    ) -> None:
        self._session, self._output, self._tokens = session, output, tokens
        self._limit, self._size, self._templates = limit, size, templates

    @property
    def table(self) -> Table:
        return {ScorePair: self.score}

    def score(self, calls: Sequence[ScorePair]) -> Answers:
        """The logit of each pair; the longest pairs first, so that batches have little padding."""
        rows, replies = prepared(calls, self._row)
        where = list(rows)
        for chosen in batches([len(rows[i].ids) for i in where], None, self._size):
            if abandoned():
                break
            together = [where[j] for j in chosen]
            try:
                logits = self._session.run([rows[i] for i in together], self._output)
            except Exception as error:  # noqa: BLE001 - onnxruntime has no common error
                failed = BackendError(f"onnxruntime failed: {first_line(error)}")
                replies |= dict.fromkeys(together, failed)
                continue
            scores = zip(together, logits.ravel(), strict=True)
            replies |= {i: _reply(rows[i], float(score)) for i, score in scores}
        return in_order(replies, calls)

    def _row(self, call: ScorePair) -> Row:
        # Replaced and not formatted: braces in a passage stay braces.
        asked, judged = self._templates
        query = asked.replace("{query}", str(call.query))
        return self._tokens.pair(query, judged.replace("{passage}", str(call.passage)), self._limit)


def _reply(row: Row, logit: float) -> Reply[float] | CallError:
    if not math.isfinite(logit):
        return ModelOutputError(f"the model's score is {logit}", hint="Try precision='fp32'.")
    return Reply(logit, len(row.ids), 0, (0,) if row.cut else ())
