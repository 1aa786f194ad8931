"""Batches of token ids for a vLLM engine, and their outputs or errors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..._extras import extra
from ..._threads import NOT_ANSWERED, abandoned
from ...errors import BackendError, CallError
from .._local.loading import first_line


class Request(NamedTuple):
    """One request.

    Args:
        ids: The prompt's token ids.
        settings: Its ``SamplingParams`` or ``PoolingParams``.
        complete: Says of the ``RequestOutput`` so far whether the answer may end.
    """

    ids: list[int]
    settings: Any
    complete: Callable[[Any], bool] | None = None


SHUTDOWN_S = 30.0
"""Seconds for the engine's processes to end by themselves; vLLM then kills them."""

ALIVE_S = 0.2
"""Seconds between two checks whether a silent engine is alive."""


class Requests:
    """Sends requests to one ``vllm.LLM``. Not safe to share between threads without a lock.

    Args:
        llm: The engine.
        adapter: A ``LoRARequest`` for every request, or None.

    Attributes:
        lost: True if the engine cannot be used any more: it died, or it was interrupted so that it
            would answer the next batch with the rest of this one.
    """

    def __init__(self, llm: Any, adapter: Any = None) -> None:
        self.lost = False
        self._llm, self._adapter = llm, adapter
        self._dead = extra("vllm.v1.engine.exceptions", "vllm").EngineDeadError
        _watch(llm.llm_engine.engine_core)

    def written(self, requests: Sequence[Request]) -> list[Any]:
        """Send requests to a generative model; return each ``RequestOutput`` or its error."""
        found: dict[int, Any] = {}
        waiting: dict[str, int] = {}
        try:
            for place, request in enumerate(requests):
                name = self._enqueued(request)
                if isinstance(name, CallError):
                    found[place] = name
                else:
                    waiting[name] = place
            self._collect(waiting, found, [request.complete for request in requests])
        except self._dead:
            self.lost = True
            return [found.get(i, _died()) for i in range(len(requests))]
        except BaseException:  # an interrupt too: the next batch must not get these answers
            self.lost = True
            raise
        return [found.get(i, BackendError(NOT_ANSWERED)) for i in range(len(requests))]

    def classified(self, requests: Sequence[Request]) -> list[Any]:
        """Send requests to a classifier; return each ``PoolingRequestOutput`` or its error."""
        if not requests:
            return []
        try:
            outputs = self._llm.encode(
                [{"prompt_token_ids": request.ids} for request in requests],
                [request.settings for request in requests],
                pooling_task="classify",
                lora_request=self._adapter,
                use_tqdm=False,
            )
        except self._dead:
            self.lost = True
            return [_died() for _ in requests]
        except Exception as error:  # noqa: BLE001 - a refused request must not cost the others
            if len(requests) > 1:
                return [output for one in requests for output in self.classified([one])]
            return [_refused(error)]
        except BaseException:  # interrupted: vLLM keeps the requests
            self.lost = True
            raise
        return list(outputs)

    def shutdown(self) -> None:
        """End the engine's processes, and wait for their end. Safe to repeat."""
        self.lost = True
        self._llm.llm_engine.engine_core.shutdown(timeout=SHUTDOWN_S)

    def _enqueued(self, request: Request) -> str | CallError:
        """Pass a request to the engine; return the engine's name for it, or an error."""
        prompt = {"prompt_token_ids": request.ids}
        try:
            [name] = self._llm.enqueue(
                [prompt], request.settings, lora_request=self._adapter, use_tqdm=False
            )
        except self._dead:
            raise
        except Exception as error:  # noqa: BLE001 - vLLM's checks raise errors of many kinds
            return _refused(error)
        if request.complete:
            _show_steps(self._llm.llm_engine, str(name))
        return str(name)

    def _collect(
        self,
        waiting: dict[str, int],
        found: dict[int, Any],
        complete: Sequence[Callable[[Any], bool] | None],
    ) -> None:
        """Step until all outputs have arrived or the caller was cancelled."""
        engine = self._llm.llm_engine
        # Outputs are named by the number with which a request's name begins.
        places = {name.partition("-")[0]: place for name, place in waiting.items()}
        names = {place: name for name, place in waiting.items()}
        while engine.has_unfinished_requests():
            if abandoned():
                engine.abort_request(list(waiting), internal=True)
                return
            for output in engine.step():
                place = places[output.request_id]
                enough = complete[place]
                if output.finished or (enough and enough(output)):
                    found[place] = output
                if not output.finished and place in found:
                    engine.abort_request([names[place]], internal=True)


def _show_steps(engine: Any, name: str) -> None:
    """Make the engine give a request's output at every step, and not only the last.

    ``LLM`` asks for the last alone, whatever the settings say. Where an engine keeps its requests
    elsewhere, it gives only the last, and the answer ends by itself.
    """
    states = getattr(getattr(engine, "output_processor", None), "request_states", {})
    if state := states.get(name):
        state.output_kind = type(state.output_kind).CUMULATIVE


def _watch(core: Any) -> None:
    """Make the wait for outputs end when the engine dies.

    vLLM notices the death and ends the thread that fills the queue, but it does not stop waiting.
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
        hint="Its log says why; the next call starts a new one.",
        retryable=True,
    )


def _refused(error: Exception) -> BackendError:
    return BackendError(f"vLLM refuses the request: {first_line(error)}")
