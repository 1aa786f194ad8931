# SPDX-License-Identifier: Apache-2.0
"""The components inside a composite: calling, warming up and closing them, sync and async."""

import inspect
from abc import abstractmethod
from typing import Any, Self

from haystack import default_from_dict

from rerank_plugins.components import Checked, off_loop


def takes(part: Any, name: str) -> bool:
    """True if a component's `run` has an argument."""
    return name in inspect.signature(part.run).parameters


async def run_async(part: Any, **inputs: Any) -> dict[str, Any]:
    """A component's `run_async`, or its `run` in a thread."""
    if hasattr(part, "run_async"):
        found: dict[str, Any] = await part.run_async(**inputs)
        return found
    return await off_loop(lambda: part.run(**inputs))


class Composite(Checked):
    """The life cycle and the loading of a component that holds others. Not a component itself."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """
        Deserializes the component from a dictionary.

        :param data: Dictionary to deserialize from.
        :returns: Deserialized component.
        """
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        """Warm up every part."""
        self._each("warm_up")

    async def warm_up_async(self) -> None:
        """Warm up every part without blocking the event loop."""
        await self._each_async("warm_up")

    def close(self) -> None:
        """Close every part."""
        self._each("close")

    async def close_async(self) -> None:
        """Close every part without blocking the event loop."""
        await self._each_async("close")

    @abstractmethod
    def _parts(self) -> list[Any]:
        """Every component inside."""

    def _each(self, method: str) -> None:
        for part in self._parts():
            if hasattr(part, method):
                getattr(part, method)()

    async def _each_async(self, method: str) -> None:
        for part in self._parts():
            if hasattr(part, f"{method}_async"):
                await getattr(part, f"{method}_async")()
            elif hasattr(part, method):
                await off_loop(getattr(part, method))
