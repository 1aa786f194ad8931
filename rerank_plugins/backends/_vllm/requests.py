"""Token ids through a vLLM engine, in one batch: what came out, or why nothing did."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from ..._extras import extra
from ..._threads import abandoned
from ...errors import BackendError, CallError
from .._local.loading import first_line

Request: TypeAlias = tuple[list[int], Any]
"""A prompt's token ids, and vLLM's ``SamplingParams`` or ``PoolingParams`` for it."""

SHUTDOWN_S = 30.0
"""Seconds in which the engine's processes may end by themselves; vLLM then kills them."""

ALIVE_S = 0.2
"""Seconds between two looks at whether an engine that says nothing is alive."""


class Requests:
    """Sends requests to one ``vllm.LLM``. Not safe to share between threads without a lock.

    Args:
        llm: The engine.
        adapter: A ``LoRARequest`` that goes with every request, or None.

    Attributes:
        lost: Whether the engine is of no more use: it died, or was interrupted in a place where
            it would answer the next batch with the rest of this one.
    """

    def __init__(self, llm: Any, adapter: Any = None) -> None:
        self.lost = False
        self._llm, self._adapter = llm, adapter
        self._dead = extra("vllm.v1.engine.exceptions", "vllm").EngineDeadError
        _watch(llm.llm_engine.engine_core)

    def written(self, requests: Sequence[Request]) -> list[Any]:
        """The ``RequestOutput`` of each request of a generative model, or a `CallError`."""
        found: dict[int, Any] = {}
        waiting: dict[str, int] = {}
        try:
            for place, request in enumerate(requests):
                added = self._added(request)
                if isinstance(added, CallError):
                    found[place] = added
                else:
                    waiting[added] = place
            self._collect(waiting, found)
        except self._dead:
            self.lost = True
            return [found.get(i, _died()) for i in range(len(requests))]
        except BaseException:  # an interrupt too: a next batch must not get these answers
            self.lost = True
            raise
        given_up = BackendError("nobody waits for this answer any more")
        return [found.get(i, given_up) for i in range(len(requests))]

    def classified(self, requests: Sequence[Request]) -> list[Any]:
        """The ``PoolingRequestOutput`` of each request of a classifier, or a `CallError`."""
        if not requests:
            return []
        try:
            outputs = self._llm.encode(
                [{"prompt_token_ids": ids} for ids, _ in requests],
                [settings for _, settings in requests],
                pooling_task="classify",
                lora_request=self._adapter,
                use_tqdm=False,
            )
        except self._dead:
            self.lost = True
            return [_died() for _ in requests]
        except Exception as error:  # noqa: BLE001 - one that is refused must not cost the others
            if len(requests) > 1:
                return [output for one in requests for output in self.classified([one])]
            return [_refused(error)]
        except BaseException:  # interrupted: vLLM leaves the requests where they are
            self.lost = True
            raise
        return list(outputs)

    def shutdown(self) -> None:
        """End the engine's processes, and wait for it. Safe to repeat."""
        self.lost = True
        self._llm.llm_engine.engine_core.shutdown(timeout=SHUTDOWN_S)

    def _added(self, request: Request) -> str | CallError:
        """The engine's name for a request that it took."""
        ids, settings = request
        try:
            [name] = self._llm.enqueue(
                [{"prompt_token_ids": ids}], settings, lora_request=self._adapter, use_tqdm=False
            )
        except self._dead:
            raise
        except Exception as error:  # noqa: BLE001 - vLLM's checks raise errors of many kinds
            return _refused(error)
        return str(name)

    def _collect(self, waiting: dict[str, int], found: dict[int, Any]) -> None:
        """Step until everything has come out or nobody waits for it any more."""
        engine = self._llm.llm_engine
        # Outputs go by the number that a request's name begins with.
        places = {name.partition("-")[0]: place for name, place in waiting.items()}
        while engine.has_unfinished_requests():
            if abandoned():
                engine.abort_request(list(waiting), internal=True)
                return
            for output in engine.step():
                if output.finished:
                    found[places[output.request_id]] = output


def _watch(core: Any) -> None:
    """Have the wait for outputs end when the engine dies.

    vLLM notices the death, ends the thread that puts outputs into the queue, and waits on.
    """
    outputs = getattr(core, "outputs_queue", None)
    if outputs is None:  # the engine is in this process
        return
    wait = core.get_output

    def get_output() -> Any:
        with outputs.not_empty:
            while not outputs.queue:
                core.ensure_alive()
                outputs.not_empty.wait(ALIVE_S)
        return wait()

    core.get_output = get_output


def _died() -> BackendError:
    return BackendError(
        "the vLLM engine died",
        hint="Its log says why; the next call starts it anew.",
        retryable=True,
    )


def _refused(error: Exception) -> BackendError:
    return BackendError(f"vLLM refuses the request: {first_line(error)}")
