# SPDX-License-Identifier: Apache-2.0
"""The components that a composite holds: how to call, warm up and close them in either colour."""

import inspect
from collections.abc import Iterable
from typing import Any

from rerank_plugins.handlers import off_loop


def takes(part: Any, name: str) -> bool:
    """Whether a component's `run` has an argument."""
    return name in inspect.signature(part.run).parameters


async def run_async(part: Any, **inputs: Any) -> dict[str, Any]:
    """A component's `run_async`, or its `run` in a thread."""
    if hasattr(part, "run_async"):
        found: dict[str, Any] = await part.run_async(**inputs)
        return found
    return await off_loop(lambda: part.run(**inputs))


def call_each(parts: Iterable[Any], method: str) -> None:
    """`warm_up` or `close`, where a component has it."""
    for part in parts:
        if hasattr(part, method):
            getattr(part, method)()


async def call_each_async(parts: Iterable[Any], method: str) -> None:
    """The asynchronous `warm_up` or `close`, or the synchronous one in a thread."""
    for part in parts:
        if hasattr(part, f"{method}_async"):
            await getattr(part, f"{method}_async")()
        elif hasattr(part, method):
            await off_loop(getattr(part, method))
