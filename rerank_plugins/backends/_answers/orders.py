"""Answers that may end before the model ends them: an order with all the names that were asked."""

from collections.abc import Callable

from ..._content import opens_reasoning
from ...calls import Generate, WrittenOrder, text_of


class OrderReader:
    """Reads an answer while it is written, and says when its order is complete.

    The text is read again only once it has as many new tokens as it lacked names, because a name
    takes at least one; an answer that is no order is not read again.

    Args:
        order: The order to wait for.
        started: The beginning of the answer in the prompt.
    """

    def __init__(self, order: WrittenOrder, started: str = "") -> None:
        self._order, self._started = order, started
        self._due: int | None = order.count

    @classmethod
    def of(cls, call: Generate, prompt: str) -> "OrderReader | None":
        """The reader for a call; None where there is nothing to wait for.

        Args:
            call: The call.
            prompt: The text that the model gets. One that begins the model's reasoning is followed
                by that, and names in it are no answer.
        """
        if call.until is None or opens_reasoning(prompt):
            return None
        return cls(call.until, text_of(call.prompt.prefill))

    def complete(self, tokens: int, text: Callable[[], str]) -> bool:
        """Whether the answer may end.

        Args:
            tokens: How many tokens the model has written.
            text: Gives them as text.
        """
        if self._due is None or tokens < self._due:
            return False
        left, _ = self._order.progress(self._started + text())
        self._due = None if left is None else tokens + left
        return left == 0
