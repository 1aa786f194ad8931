"""Output of the commands: progress, tables, calls and their replies, JSON."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .._files import replacing
from ..calls import (
    Attend,
    Call,
    Completion,
    Embed,
    Generate,
    Identifier,
    LabelLogprobs,
    Likelihood,
    NextToken,
    Prompt,
    Reply,
    ScorePair,
    Vectors,
)
from ..errors import CallError, InputError
from ..jobs import Progress

FELL_BACK = 3
"""Exit code of a command that finished although some rankings kept the input's order."""


@contextmanager
def progress(label: str, length: int | None = None) -> Iterator[Progress]:
    """Show progress while the block runs, if standard error is a terminal.

    Args:
        label: What is counted.
        length: The total for a bar; a counter when None.

    Yields:
        A function to call with the number of steps just finished.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
    elif length is None:
        done = 0

        def count(n: int) -> None:
            nonlocal done
            done += n
            click.echo(f"\r{label}: {done}", nl=False, err=True)

        yield count
        click.echo(err=True)
    else:
        with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
            yield bar.update


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[str] | None = None
) -> str:
    """Align columns of text: the first to the left, the others to the right.

    Args:
        header: The first line.
        rows: The other lines.
        texts: A text of any length to the right of each row.

    Examples:
        >>> print(table(["name", "nDCG@10"], [["bm25", "0.5058"]], ["baseline"]))
        name  nDCG@10
        bm25   0.5058  baseline
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row, text in zip((header, *rows), ("", *(texts or [""] * len(rows))), strict=True):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join([*cells, text]).rstrip())
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    Examples:
        >>> counted(1, "round"), counted(3, "call")
        ('1 round', '3 calls')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def synthetic_note(synthetic: str) -> list[str]:
    """The line under a table whose grades a model gave; none for people's.

    Args:
        synthetic: `Collection.synthetic`.
    """
    return [f"SYNTHETIC: a model gave the grades ({synthetic}), not people"] if synthetic else []


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write tab-separated values, whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def make_folder(folder: Path) -> None:
    """Make a folder, with its parents, where there is none.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {str(folder)!r}: {error}") from error


def call_text(call: Call[Any], backend: Mapping[str, Any] | None = None) -> str:
    """A call in a form for people to read.

    Args:
        call: The call.
        backend: The spec of the backend that gets it, to show templates that the spec holds.
    """
    spec = backend or {}
    template = spec.get("chat_template")
    lines = [f"--- chat template\n{template}"] if template else []
    match call:
        case NextToken(prompt=prompt, labels=labels):
            lines += [
                *_prompt_lines(prompt),
                f"--- which comes next?\n{' '.join(map(repr, labels))}",
            ]
        case Generate(prompt=prompt, temperature=temperature):
            sampled = f"sampled: temperature {temperature}, top_p {call.top_p}, top_k {call.top_k}"
            how = f"up to {call.max_tokens} tokens, {sampled if temperature else 'greedily'}"
            lines += [*_prompt_lines(prompt), f"--- then write\n{how}"]
        case Likelihood(prompt=prompt, continuation=text):
            lines += [*_prompt_lines(prompt), f"--- how likely is then\n{text.text}"]
        case Embed(prompt=prompt, marks=marks):
            where = f"at each {' and '.join(marks)}" if marks else "at the last token"
            lines += [*_prompt_lines(prompt), f"--- which vectors are there?\n{where}"]
        case Attend(prompt=prompt, calibration=other, heads=heads):
            chosen = f"{len(heads)} heads" if heads else "all heads"
            lines += [
                *_prompt_lines(prompt),
                f"--- how much does the query attend to each passage?\n{chosen}, less the query "
                f"{other!r}",
            ]
        case ScorePair(query=query, passage=passage):
            first = spec.get("query_template", "{query}").replace("{query}", query)
            second = spec.get("passage_template", "{passage}").replace("{passage}", passage)
            lines += [f"--- first text\n{first}", f"--- second text\n{second}"]
        case _:
            lines.append(repr(call))
    return "\n".join(lines)


def _prompt_lines(prompt: Prompt) -> list[str]:
    lines = [f"--- {m.role if prompt.chat else 'plain text'}\n{m.text}" for m in prompt.messages]
    if begin := "".join(p.text if isinstance(p, Identifier) else p for p in prompt.prefill):
        lines.append(f"--- the answer begins\n{begin}")
    return lines


def reply_text(reply: Reply[Any] | CallError) -> str:
    """A reply in a form for people to read: log-probabilities best first, or the text."""
    if isinstance(reply, CallError):
        return f"{type(reply).__name__}: {reply}"
    match reply.answer:
        case LabelLogprobs(seen=seen):
            best = sorted(seen.items(), key=lambda item: -item[1])
            return "  ".join(f"{label} {value:.4f}" for label, value in best)
        case Completion(text=text):
            return text
        case Vectors(rows=rows):
            return f"vectors: {len(rows)}, of {len(rows[0]) if rows else 0} numbers"
        case answer:
            return repr(answer)


def to_json(value: object) -> str:
    """JSON for machines, with null in place of numbers that are not finite.

    Examples:
        >>> to_json([float("nan")]).split()
        ['[', 'null', ']']
    """
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    return value
