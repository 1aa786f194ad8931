"""Every error of the library, in one tree.

::

    RerankError
    ├── InputError                 the caller's arguments are wrong (also a ValueError)
    ├── ConfigurationError         the set-up is wrong: fix it before the next run
    │   ├── UnknownNameError       no preset, strategy, backend or prompt of that name
    │   ├── MissingExtraError      an optional dependency is absent (also an ImportError)
    │   ├── ModelLoadError         the model's files are missing, damaged or of the wrong kind
    │   ├── ChatTemplateError      the prompt is a chat and the model has no chat template
    │   ├── LabelError             the labels are not distinct single tokens of this model
    │   └── UnsupportedCallError   the backend cannot answer this kind of call
    ├── ContractError              a strategy or a backend broke its contract
    └── CallError                  one call failed: a value on the wire, raised inside a plan
        ├── PromptTooLongError     the prompt does not fit the model's context
        ├── ModelOutputError       the model answered with something that is not a number
        ├── LogprobsError          the server reports no log-probabilities
        ├── BudgetError            the limits given for this ranking are used up
        └── BackendError           a server refused, failed or did not answer in time

Every error says whose ``fault`` it is, whether a ``retryable`` attempt makes sense, and gives
a ``hint`` where there is one thing to do. Errors are values: they compare by what they say, and
can be copied and pickled (a pickle leaves the cause and the traceback behind).
"""

from collections.abc import Mapping
from types import MemberDescriptorType
from typing import Any, ClassVar, Literal, Self

Fault = Literal["caller", "setup", "plugin", "model", "server"]


class RerankError(Exception):
    """Base class of everything this library raises on purpose.

    Args:
        message: What went wrong, in one sentence.
        hint: What to do about it. Appended to the message.

    Examples:
        >>> str(InputError("top_k is 0", hint="Give a positive number or None."))
        'top_k is 0. Give a positive number or None.'
    """

    fault: ClassVar[Fault] = "caller"
    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.hint = hint

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RerankError) or type(other) is not type(self):
            return NotImplemented
        return (self.args, vars(self)) == (other.args, vars(other))

    def __hash__(self) -> int:
        return hash((type(self), self.args))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, _state(self))

    def __copy__(self) -> Self:
        twin: Self = _restored(type(self), self.args, _state(self))
        # A copy stays in this process, where what led to the error can follow it.
        twin.__traceback__, twin.__context__ = self.__traceback__, self.__context__
        twin.__cause__, twin.__suppress_context__ = self.__cause__, self.__suppress_context__
        return twin


def _state(error: RerankError) -> dict[str, Any]:
    """The attributes of an error, those in slots and of built-in bases included."""
    found: dict[str, Any] = {}
    for cls in type(error).__mro__:
        for name, member in vars(cls).items():
            if isinstance(member, MemberDescriptorType) and not name.startswith("__"):
                value = getattr(error, name, None)
                if value is not None or cls.__module__ != "builtins":  # None: it was never set
                    found[name] = value
    return found | vars(error)


def _restored(cls: type[Any], args: tuple[Any, ...], state: Mapping[str, Any]) -> Any:
    """An error with these attributes, made without its constructor: subclasses change arguments."""
    built_in: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    error = built_in.__new__(cls, *args)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


class InputError(RerankError, ValueError):
    """The caller's arguments are wrong. Nothing was asked of the model."""


class ConfigurationError(RerankError):
    """The set-up is wrong. Retrying gives the same answer."""

    fault: ClassVar[Fault] = "setup"


class UnknownNameError(ConfigurationError, LookupError):
    """No preset, strategy, backend or prompt goes by that name."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is absent; the message names the extra to install."""


class ModelLoadError(ConfigurationError):
    """The model's files are missing, damaged or of the wrong kind."""


class ChatTemplateError(ConfigurationError):
    """The prompt is a chat and the model's tokenizer has no usable chat template."""


class LabelError(ConfigurationError):
    """The labels are not distinct single tokens of this model's vocabulary."""


class UnsupportedCallError(ConfigurationError):
    """The backend cannot answer this kind of call."""


class ContractError(RerankError):
    """A strategy or a backend broke its contract. The fault is in that piece of code."""

    fault: ClassVar[Fault] = "plugin"


class CallError(RerankError):
    """One call failed. Travels as a value; `ask` raises it inside the plan that asked.

    Args:
        message: What went wrong, in one sentence.
        hint: What to do about it.
        retryable: Whether asking again may help.
        retry_after_s: How long the server asked to wait, in seconds.
        prompt_tokens: Tokens the model read for an answer that cannot be used.
        generated_tokens: Tokens it wrote for it.
    """

    fault: ClassVar[Fault] = "server"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retryable: bool = False,
        retry_after_s: float | None = None,
        prompt_tokens: int = 0,
        generated_tokens: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.prompt_tokens, self.generated_tokens = prompt_tokens, generated_tokens


class PromptTooLongError(CallError):
    """The prompt does not fit the model's context.

    Attributes:
        excess_tokens: How many tokens too many, at least 1.
    """

    fault: ClassVar[Fault] = "caller"

    def __init__(self, excess_tokens: int, *, limit: int | None = None, hint: str = "") -> None:
        room = "" if limit is None else f" of {limit} tokens"
        super().__init__(
            f"the prompt is {excess_tokens} tokens too long for the context{room}",
            hint=hint or "Use a smaller window or shorter passages.",
        )
        self.excess_tokens = excess_tokens
        self.limit = limit


class ModelOutputError(CallError):
    """The model answered with something that is not a number."""

    fault: ClassVar[Fault] = "model"


class LogprobsError(CallError):
    """The server reports no log-probabilities, or not those of the answer's first identifier."""

    fault: ClassVar[Fault] = "setup"


class BudgetError(CallError):
    """The limits given for this ranking are used up."""

    fault: ClassVar[Fault] = "caller"


class BackendError(CallError):
    """A server refused, failed or did not answer in time."""
