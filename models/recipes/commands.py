"""For every command of the recipes: arguments that are numbers, and errors in one sentence."""

import argparse
import math
import sys
from collections.abc import Callable

from rerank_plugins import RerankError


def count(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def positive(text: str) -> float:
    """An argument that is a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def execute(main: Callable[[], None]) -> None:
    """Run a command; what is wrong with its input is one sentence, and not a traceback."""
    try:
        main()
    except (RerankError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
