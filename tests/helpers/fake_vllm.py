"""As much of vLLM as its backend touches, without an engine."""

import sys
from enum import Enum
from types import ModuleType, SimpleNamespace


class Settings(SimpleNamespace):
    """Stands for ``SamplingParams`` and ``PoolingParams``: what it is given, it holds."""


class OutputKind(Enum):
    """Which of a request's outputs an engine gives."""

    CUMULATIVE = 0
    FINAL_ONLY = 2


class EngineDeadError(Exception):
    """As vLLM names it."""


class LLM:
    """An engine that answers every request with its token ids, when it is stepped.

    Attributes:
        trouble: Called with the ids of a request before it is taken; may raise.
        dies: Whether the next step finds the engine dead.
        ended: How often its processes were ended.
    """

    supported_tasks = ("generate",)

    def __init__(self, source="model", **arguments):
        self.source, self.arguments = source, arguments
        self.trouble, self.dies, self.ended = lambda ids: None, False, 0
        self.model_config = SimpleNamespace(
            hf_config=SimpleNamespace(num_labels=1), max_model_len=100
        )
        self.llm_engine, self.left, self.count = self, {}, 0
        self.engine_core = self  # in this process: it has no queue
        self.aborted = []
        # What a request has written so far, at every step but its last.
        self.steps, self.request_states, self.output_processor = {}, {}, self

    def enqueue(self, prompts, settings, **_):
        [prompt] = prompts
        self.trouble(prompt["prompt_token_ids"])
        name = f"{self.count}-abc"
        self.left[name.partition("-")[0]] = prompt["prompt_token_ids"]
        self.request_states[name] = SimpleNamespace(output_kind=OutputKind.FINAL_ONLY)
        self.count += 1
        return [name]

    def has_unfinished_requests(self):
        return bool(self.left)

    def step(self):
        if self.dies:
            raise EngineDeadError
        name = next(reversed(self.left))  # out of order, as they come
        shown = self.request_states[f"{name}-abc"].output_kind == OutputKind.CUMULATIVE
        if shown and self.steps.get(name):
            return [SimpleNamespace(request_id=name, finished=False, text=self.steps[name].pop(0))]
        return [SimpleNamespace(request_id=name, finished=True, ids=self.left.pop(name))]

    def abort_request(self, names, **_):
        self.aborted += names
        for name in names:
            self.left.pop(name.partition("-")[0], None)

    def encode(self, prompts, settings, **_):
        for prompt in prompts:
            self.trouble(prompt["prompt_token_ids"])
        return [SimpleNamespace(ids=prompt["prompt_token_ids"]) for prompt in prompts]

    def shutdown(self, timeout):
        self.ended += 1


def fake_vllm(monkeypatch, *, cpu=True):
    """Put a vLLM of this file's classes in the place of the package."""

    def module(name, **members):
        found = ModuleType(name)
        vars(found).update(members)
        monkeypatch.setitem(sys.modules, name, found)

    module("vllm", SamplingParams=Settings, PoolingParams=Settings, LLM=LLM)
    module("vllm.platforms", current_platform=SimpleNamespace(is_cpu=lambda: cpu))
    for name in ("vllm.v1", "vllm.v1.engine"):
        module(name)
    module("vllm.v1.engine.exceptions", EngineDeadError=EngineDeadError)
