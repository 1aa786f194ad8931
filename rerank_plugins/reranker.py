"""A strategy and a backend together: the object that applications hold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from ._checks import at_least, is_blank, known_keys, listed, one_of
from ._runner import ASYNC_QUERIES, Runner, results_of
from .calls import Plan, ScorePair
from .errors import CallError, ContractError, InputError, UnsupportedCallError
from .handlers import AnyBackend, AsyncBackend, Backend, lifecycle, on_loop
from .middleware import Limits
from .plans import Done, step
from .ranking import Ranking, Report, Strategy, input_order
from .registry import from_spec, to_spec
from .text import Passage, direction_of

OnError = Literal["raise", "keep_order"]
Request = tuple[str, Sequence[str]] | tuple[str, Sequence[str], str | None]
"""A query, its passages, and where there is one an instruction for this query."""
_TOGETHER = 256
"""Passages that a plan is asked about when they are prepared."""


class Reranker:
    """Orders passages by relevance to a query: a strategy over a backend.

    The order is always a permutation of the caller's passages, cut to ``top_k``: nothing is
    dropped, invented or repeated, whatever the model answers. Inputs are never changed. One
    instance serves many threads and any event loop.

    Args:
        strategy: How to rank: a strategy, its registered name, or a spec (a plain dictionary). It
            is taken as it is now, and cannot be exchanged later: make another reranker.
        backend: What answers: a backend, or a spec.
        on_error: ``"raise"``: a failed call raises its `CallError`. ``"keep_order"``: it leaves
            the passages it concerns in their order, and ``ranking.report.fallbacks`` says why.
        limits: What one query may cost: `Limits`, or a mapping of their names to values.

    Raises:
        InputError: An argument is out of range.
        UnsupportedCallError: The backend says that it cannot answer what the strategy asks.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken, SlidingWindow
        >>> from rerank_plugins.testing import Oracle
        >>> model = Oracle(key=lambda query, passage: passage.count(query))
        >>> reranker = Reranker(SlidingWindow(inner=SingleToken()), model)
        >>> ranking = reranker.rank("flea", ["a dog", "flea, flea", "a flea"], top_k=2)
        >>> ranking.order
        (1, 2)
        >>> ranking.usage.calls, ranking.usage.generated_tokens
        (1, 0)
    """

    def __init__(
        self,
        strategy: Strategy | str | Mapping[str, Any],
        backend: AnyBackend | str | Mapping[str, Any],
        *,
        on_error: OnError = "raise",
        limits: Limits | Mapping[str, Any] | None = None,
    ) -> None:
        one_of("on_error", on_error, get_args(OnError))
        self._strategy = _strategy(strategy)
        self._on_error: OnError = on_error
        self._runner = Runner(_backend(backend), _limits(limits))
        self._effective = self._strategy
        if on_error == "keep_order":
            from .strategies._keep_order import KeepOrder  # the only strategy the core needs

            self._effective = KeepOrder.around(self._strategy)
        _check_match(self._strategy, self.backend)

    @property
    def strategy(self) -> Strategy:
        """The strategy that was given."""
        return self._strategy

    @property
    def on_error(self) -> OnError:
        """The policy for failed calls."""
        return self._on_error

    @property
    def effective_strategy(self) -> Strategy:
        """``strategy``, with `KeepOrder` around each of its parts under ``"keep_order"``."""
        return self._effective

    @property
    def backend(self) -> AnyBackend:
        """The backend that answers the calls."""
        return self._runner.backend

    @property
    def limits(self) -> Limits | None:
        """The limits of one query's cost."""
        return self._runner.limits

    def with_instruction(self, instruction: str) -> "Reranker":
        """This reranker over the same model, with an instruction for every query.

        It replaces that of the strategy. Where a strategy holds others, those get it whose prompts
        have a place for it: of a cascade, perhaps the second stage alone.

        Args:
            instruction: What relevance means. It is text from outside, as queries are: what looks
                like a control token of the model is escaped.

        Raises:
            InputError: It is blank or not a string, or no prompt has a place for it.

        Examples:
            >>> from rerank_plugins.strategies import Pointwise
            >>> from rerank_plugins.testing import Oracle
            >>> model = Oracle()
            >>> reranker = Reranker(Pointwise(), model)
            >>> _ = reranker.with_instruction("Find code.").rank("sort a list", ["sorted(x)"])
            >>> model.asked[0].prompt.text.splitlines()[1:3]
            ['<Instruct>: Find code.', '<Query>: sort a list']
        """
        from .strategies._instructed import instructed  # imported here, as KeepOrder is

        strategy = instructed(self.strategy, instruction)
        return Reranker(strategy, self.backend, on_error=self.on_error, limits=self.limits)

    def rank(
        self,
        query: str,
        passages: Sequence[str],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Rank the passages of one query.

        Args:
            query: What is asked. A blank query keeps the order and asks the model nothing: its
                ranking has no scores (``score_kind="rank"``), and the report says why.
            passages: Texts in the retriever's order, best first. Their scores (`Passage.score`) are
                taken for distances where they rise along the whole list, unless a passage states
                its ``similarity`` or its ``distance``.
            top_k: How many positions to return; all when None.
            instruction: What relevance means for this query, as for `with_instruction`; that of
                the strategy or the prompt when None.

        Raises:
            InputError: An argument is of the wrong type or out of range, or there is an instruction
                and no prompt has a place for one.
            CallError: A call failed and ``on_error`` is ``"raise"``.
        """
        return self._runner.run(self.plan(query, passages, top_k=top_k, instruction=instruction))

    async def arank(
        self,
        query: str,
        passages: Sequence[str],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """`rank`, without blocking the event loop."""
        plan = self.plan(query, passages, top_k=top_k, instruction=instruction)
        return await self._runner.arun(plan)

    def rank_many(
        self,
        requests: Iterable[Request],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> list[Ranking]:
        """Rank many queries together: the backend gets their calls in common batches.

        With ``on_error="raise"``, the first error is raised after the other queries are done.

        Args:
            requests: A query and its passages for each, and, where one has its own, an instruction.
            top_k: How many positions to return for each; all when None.
            instruction: What relevance means for the queries without an instruction of their own.
        """
        return results_of(self.settle_many(requests, top_k=top_k, instruction=instruction))

    def settle_many(
        self,
        requests: Iterable[Request],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> list[Ranking | CallError]:
        """`rank_many`, with the failure of a query in the place of its ranking."""
        return self._runner.settle_many(self._plans(requests, top_k, instruction))

    async def arank_many(
        self,
        requests: Iterable[Request],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
        max_concurrency: int = ASYNC_QUERIES,
    ) -> list[Ranking]:
        """`rank_many`, without blocking the event loop.

        A server gets one task a query, so that no query waits for another's slowest call. A
        local model gets common batches, from one thread.

        Args:
            requests: As for `rank_many`.
            top_k: How many positions to return for each; all when None.
            instruction: As for `rank_many`.
            max_concurrency: How many queries are under way at once on a server.
        """
        plans = self._plans(requests, top_k, instruction)
        return results_of(await self._runner.asettle_many(plans, max_concurrency))

    def plan(
        self,
        query: str,
        passages: Sequence[str],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> Plan[Ranking]:
        """The plan of one query, for those who run plans themselves. Arguments as for `rank`."""
        _check(query, passages, top_k)
        chosen = self if instruction is None else self.with_instruction(instruction)
        return chosen._plan(query, *_higher_is_better(Passage.all_of(passages)), top_k)

    def _plan(
        self, query: str, passages: Sequence[Passage], known: Report, top_k: int | None
    ) -> Plan[Ranking]:
        if is_blank(query) or not passages:
            cause = ("the query is blank",) if passages else ()
            return input_order(len(passages), report=Report(fallbacks=cause)).top(top_k)
        inner = self._effective.rank(query, passages)
        ranking, usage = yield from self._runner.counted(inner)
        if not isinstance(ranking, Ranking):
            name, kind = type(self.strategy).__name__, type(ranking).__name__
            raise ContractError(f"{name} returned a {kind}, expected a Ranking")
        if sorted(ranking.order) != list(range(len(passages))):
            raise ContractError(
                f"{type(self.strategy).__name__} returned {len(ranking)} positions for "
                f"{len(passages)} passages: not a permutation"
            )
        return replace(ranking.top(top_k), usage=usage, report=ranking.report + known)

    def prepare(self, passages: Iterable[str], path: "str | Path | None" = None) -> Any:
        """Have the backend encode passages beforehand, in the form in which it will be asked.

        Only encoders can: `rerank_plugins.backends.LateInteractionBackend`, which looks into the
        vectors from then on. Another process gets them as ``prepared``.

        Args:
            passages: Texts, with titles where the ranked ones will have some.
            path: A file to write; without one, the vectors are in memory only.

        Returns:
            The `rerank_plugins.backends.TokenVectors`.

        Raises:
            UnsupportedCallError: The backend reads query and passage together, or the strategy asks
                about several passages at once.
            InputError: The file cannot be written, or a passage is not a string.
            CallError: A passage cannot be encoded.
        """
        passages = listed("passages", passages, str)
        backend = _preparing(self.backend)
        if backend is None:
            raise UnsupportedCallError(
                f"{type(self.backend).__name__} cannot encode passages without a query",
                hint="Use LateInteractionBackend.",
            )
        return backend.prepare(self._asked(passages), path)

    def _asked(self, passages: Iterable[str]) -> Iterator[str]:
        """The texts that the strategy asks about, a few passages at a time."""
        left = iter(passages)
        while some := list(islice(left, _TOGETHER)):
            state = step(self.strategy.rank("query", [Passage.of(p) for p in some]))
            calls = () if isinstance(state, Done) else state
            texts = [call.passage for call in calls if isinstance(call, ScorePair)]
            if not texts:
                raise UnsupportedCallError(
                    f"{type(self.strategy).__name__} does not ask for scores of single passages",
                    hint="Use PairScore.",
                )
            yield from texts

    def _plans(
        self, requests: Iterable[Request], top_k: int | None, instruction: str | None
    ) -> list[Plan[Ranking]]:
        chosen = self if instruction is None else self.with_instruction(instruction)
        return [
            chosen.plan(query, passages, top_k=top_k, instruction=own[0] if own else None)
            for query, passages, *own in _checked(requests)
        ]

    def warm_up(self) -> None:
        """Load the model now instead of at the first call. Safe to repeat."""
        lifecycle(self.backend, "warm_up")

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""
        await on_loop(self.backend, "warm_up")

    def close(self) -> None:
        """Release the model. The next call loads it again. Safe to repeat."""
        lifecycle(self.backend, "close")

    async def aclose(self) -> None:
        """`close`, without blocking the event loop."""
        await on_loop(self.backend, "close")

    def to_spec(self) -> dict[str, Any]:
        """A plain dictionary from which `from_spec` builds an equal reranker.

        Raises:
            ConfigurationError: The strategy or the backend has no spec.
        """
        spec: dict[str, Any] = {
            "strategy": to_spec("strategies", self.strategy),
            "backend": to_spec("backends", self.backend),
            "on_error": self.on_error,
        }
        if self.limits is not None:
            spec["limits"] = {name: getattr(self.limits, name) for name in Limits.__slots__}
        return spec

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Reranker":
        """The reranker that ``spec`` describes."""
        if not isinstance(spec, Mapping):
            raise InputError(f"a reranker's spec is a mapping, not {spec!r:.80}")
        if "model" in spec:
            raise InputError("this spec names a model", hint="Give it to load_reranker.")
        known_keys("a reranker's spec", spec, ("strategy", "backend", "on_error", "limits"))
        if missing := sorted({"strategy", "backend"} - set(spec)):
            raise InputError(f"a reranker's spec needs {missing}")
        return cls(
            spec["strategy"],
            spec["backend"],
            on_error=spec.get("on_error", "raise"),
            limits=spec.get("limits"),
        )

    def __repr__(self) -> str:
        return f"Reranker({self.strategy!r}, {self.backend!r}, on_error={self.on_error!r})"


def _strategy(given: Strategy | str | Mapping[str, Any]) -> Strategy:
    built = from_spec("strategies", given) if isinstance(given, str | Mapping) else given
    if isinstance(built, type) or not isinstance(built, Strategy):
        raise InputError(f"{built!r} is not a strategy", hint="It needs rank(query, passages).")
    return built


def _backend(given: AnyBackend | str | Mapping[str, Any]) -> AnyBackend:
    built = from_spec("backends", given) if isinstance(given, str | Mapping) else given
    if isinstance(built, type) or not isinstance(built, Backend | AsyncBackend):
        raise InputError(f"{built!r} is not a backend", hint="It needs run(calls) or arun(calls).")
    return built


def _preparing(backend: Any) -> Any:
    """The backend, or one inside it, that encodes passages beforehand; None if there is none."""
    if hasattr(backend, "prepare"):
        return backend
    inner = getattr(backend, "inner", None)
    members = getattr(backend, "members", () if inner is None else (inner,))
    return next((found for m in members if (found := _preparing(m)) is not None), None)


def _limits(given: Limits | Mapping[str, Any] | None) -> Limits | None:
    if given is None or isinstance(given, Limits):
        return given
    if not isinstance(given, Mapping):
        raise InputError(
            f"limits is of type {type(given).__name__}", hint="Give Limits(max_calls=...)."
        )
    known_keys("limits", given, Limits.__slots__)
    return Limits(**given)


def _checked(requests: object) -> list[Request]:
    hint = "Give (query, passages), or (query, passages, instruction)."
    if not isinstance(requests, Iterable):
        raise InputError(f"requests is {requests!r:.80}", hint=hint)
    found = list(requests)
    for i, request in enumerate(found):
        if not isinstance(request, tuple | list) or len(request) not in (2, 3):
            raise InputError(f"requests[{i}] is {request!r:.80}", hint=hint)
    return found


def _check(query: object, passages: object, top_k: object) -> None:
    if not isinstance(query, str):
        raise InputError(f"the query is of type {type(query).__name__}, expected a string")
    if isinstance(passages, str) or not isinstance(passages, Sequence):
        raise InputError(
            f"passages is of type {type(passages).__name__}", hint="Give a list of strings."
        )
    for i, passage in enumerate(passages):
        if not isinstance(passage, str):
            raise InputError(
                f"passages[{i}] is of type {type(passage).__name__}, expected a string",
                hint="Rank the texts, then give your objects to ranking.ranked(objects).",
            )
    at_least(1, none=True, top_k=top_k)


def _higher_is_better(passages: Sequence[Passage]) -> tuple[Sequence[Passage], Report]:
    """Passages whose scores are similarities: those that rise along the list are distances."""
    if not passages or passages[0].score is None:
        return passages, Report()
    scores = [passage.score for passage in passages]
    if direction_of(scores) != "distance" or any(passage.directed for passage in passages):
        return passages, Report()
    turned = [Passage(p, title=p.passage_title, distance=p.score) for p in passages]
    return turned, Report(distances=frozenset(range(len(passages))))


def _check_match(strategy: Strategy, backend: AnyBackend) -> None:
    """Refuse a pair that cannot work, where the backend declares what it answers."""
    kinds = getattr(backend, "kinds", None)
    if kinds is None:
        return
    plan = strategy.rank("query", (Passage("one passage"), Passage("another passage")))
    first = step(plan)
    plan.close()
    asked = set() if isinstance(first, Done) else {type(call) for call in first}
    if missing := sorted(kind.__name__ for kind in asked - kinds):
        pairs = ScorePair in kinds
        other = "one that scores pairs, such as 'pair-score'" if pairs else "another one"
        model = "a cross-encoder or an encoder" if ScorePair in asked else "a language model"
        raise UnsupportedCallError(
            f"the strategy {type(strategy).__name__} asks for {_words(missing)}, and "
            f"{type(backend).__name__} gives {_words(kind.__name__ for kind in kinds)}",
            hint=f"Name {model} for this strategy, or take {other}.",
        )


_WORDS = {
    "NextToken": "log-probabilities of the next token",
    "Generate": "written text",
    "Likelihood": "the likelihood of a text",
    "ScorePair": "scores of pairs",
    "Search": "a search",
}
"""The answers to the kinds of call, for messages."""


def _words(kinds: Iterable[str]) -> str:
    return ", ".join(_WORDS.get(kind, kind) for kind in sorted(kinds))
