"""RankZephyr's training lists: a conversation whose answer is the permutation of its passages.

A row is ``{"conversations": [{"from": "system", "value": ...}, {"from": "human", ...}, {"from":
"gpt", ...}]}``, as the training scripts of RankLLM and of FIRST read it, or ``{"messages":
[{"role": "system", "content": ...}, ...]}``, as chat trainers do. Identifiers are numbers
(castorini/rank_zephyr_training_data) or letters (rryisthebest/rank_zephyr_training_data_alpha).

The names of the fields and the order of the three turns were read from those scripts
(castorini/rank_llm 6d95084, training/utils/data_utils.py; gangiswag/llm-reranker 300203a,
scripts/utils/dataset.py). Not verified, because the data itself was not available: the values
of "from", and the exact white space of the human's turn. Both are read leniently.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from ..._checks import one_of
from ..._content import content_text
from ..._files import rows_of
from ...errors import InputError
from ...jobs import parse_id
from ...parsing import parse_permutation
from ...prompts import ListwisePrompt, require
from ...text import Alphabet, labels
from ._lists import OnSkip, TrainingList, skip, write_rows

Layout = Literal["conversations", "messages"]

_LAYOUTS: Mapping[str, tuple[str, str]] = {
    "conversations": ("from", "value"),
    "messages": ("role", "content"),
}
_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}

_HEAD = re.compile(r"relevance to (?:the search )?query: ")
_AGAIN = re.compile(r"^[ \t]*Search Query: ", re.MULTILINE)
_TAIL = re.compile(r"\.[ \t]*\n[ \t]*Rank the (\d{1,4}) passages above")
_FIRST = re.compile(r"\.[ \t]*\n\s*(?=\[(?:A|1)\])")


def read_conversations(
    path: str | Path, *, on_skip: OnSkip | None = None
) -> Iterator[TrainingList]:
    """Read the lists of a JSON Lines file of conversations, plain or gzipped, one after the other.

    Args:
        path: The file.
        on_skip: Called with a sentence for each malformed row, which then is left out; without it,
            such a row is an error.

    Raises:
        InputError: The file is missing, damaged or empty, or a row is malformed and there is no
            ``on_skip``: the message has the file and the number of the line.
    """
    numbered = ((f"line {number} of {path}", row) for number, row in rows_of(Path(path)))
    return _lists(numbered, str(path), on_skip)


def conversation_lists(
    rows: Iterable[object], *, on_skip: OnSkip | None = None
) -> Iterator[TrainingList]:
    """The lists of rows that are already read, by `json.load` or a data set's iterator.

    Args:
        rows: Each as `parse_conversation` reads it.
        on_skip: As for `read_conversations`.

    Raises:
        InputError: There are no rows, or a row is malformed and there is no ``on_skip``: the
            message has its number from 1.
    """
    numbered = ((f"row {number}", row) for number, row in enumerate(rows, start=1))
    return _lists(numbered, "the data", on_skip)


def parse_conversation(row: object) -> TrainingList:
    """The list of one row: passages in the order shown, labels minus the rank in the answer.

    Args:
        row: A mapping with ``conversations`` or ``messages``: one turn of the user and one of the
            assistant after it, and perhaps one of the system before. An ``id`` becomes the query's.

    Raises:
        InputError: It is not such a row; the user's turn is not a ranking prompt; or the answer is
            not a permutation of all its passages.

    Examples:
        >>> pair = TrainingList("flea", ("a dog", "a flea"), (0, 1))
        >>> parse_conversation(conversation(pair)).labels
        (-2.0, -1.0)
    """
    if not isinstance(row, Mapping):
        raise InputError(f"the row is of type {type(row).__name__}, expected an object")
    asked, answer = _turns(row)
    query, alphabet, passages = _parsed_prompt(asked)
    n = len(passages)
    found = parse_permutation(answer, n, alphabet)
    if len(found.positions) < n or found.duplicates or found.out_of_range:
        raise InputError(f"the answer {answer.strip()[:60]!r} is not a permutation of {n} passages")
    ranks = {position: rank for rank, position in enumerate(found.positions, start=1)}
    return TrainingList(
        query,
        passages,
        tuple(-float(ranks[i]) for i in range(n)),
        query_id="" if row.get("id") is None else parse_id(row["id"]),
    )


def conversation(
    given: TrainingList,
    prompt: str | ListwisePrompt = "first.v1",
    *,
    layout: Layout = "conversations",
) -> dict[str, Any]:
    """The row of a list: the prompt that serves, and the answer that a perfect model would give.

    The prompt shortens passages, repairs encodings and escapes fake identifiers as when serving. A
    prefilled ``[`` is part of the answer here, as in the public data.

    Args:
        given: The list. Passages with equal labels stand in the answer as they are shown.
        prompt: A listwise prompt with letters or numbers, or its versioned name: ``first.v1``,
            ``rankllm-letters.v1``, ``rankzephyr.v1``.
        layout: ``"conversations"`` with "from" and "value", or ``"messages"`` with "role" and
            "content".

    Raises:
        InputError: There are more passages than letters, the layout is unknown, or the prompt has
            no identifiers of its own, asks for reasoning, or gives each passage a turn.

    Examples:
        >>> row = conversation(TrainingList("flea", ("a dog", "a flea"), (0, 1)))
        >>> [turn["from"] for turn in row["conversations"]], row["conversations"][2]["value"]
        (['system', 'human', 'gpt'], '[B] > [A]')
    """
    one_of("layout", layout, get_args(Layout))
    template = require(prompt, ListwisePrompt)
    if template.alphabet == "tokens" or template.reasoning or template.opening:
        raise InputError(
            "this prompt's answer is not a bare permutation after one question",
            hint="Use one with letters or numbers, such as 'first.v1' or 'rankzephyr.v1'.",
        )
    rendered, _ = template.render(given.query, given.passages)
    turns = [(message.role, message.text) for message in rendered.messages]
    turns.append(("assistant", permutation_text(given, template.alphabet)))
    role, text = _LAYOUTS[layout]
    names: Mapping[str, str] = _SHAREGPT if layout == "conversations" else {}
    row: dict[str, Any] = {"id": given.query_id} if given.query_id else {}
    row[layout] = [{role: names.get(who, who), text: said} for who, said in turns]
    return row


def permutation_text(given: TrainingList, alphabet: Alphabet) -> str:
    """The answer that ranks a list by its labels: ``[B] > [A]``.

    Raises:
        InputError: There are more passages than letters.
    """
    names = labels(alphabet, len(given))
    return " > ".join(f"[{names[i]}]" for i in given.order)


def write_conversations(
    lists: Iterable[TrainingList],
    path: str | Path,
    prompt: str | ListwisePrompt = "first.v1",
    *,
    layout: Layout = "conversations",
) -> int:
    """Write lists as rows of JSON Lines, whole or not at all.

    Args:
        lists: The lists.
        path: The file, compressed where it ends in ``.gz``.
        prompt: As for `conversation`.
        layout: As for `conversation`.

    Returns:
        The number of lists.

    Raises:
        InputError: There are no lists, one has no row (see `conversation`), or the file cannot be
            written.
    """
    rows = (conversation(given, prompt, layout=layout) for given in lists)
    return write_rows(rows, Path(path))


def _lists(
    rows: Iterable[tuple[str, object]], name: str, on_skip: OnSkip | None
) -> Iterator[TrainingList]:
    empty = True
    for place, row in rows:
        empty = False
        try:
            given = parse_conversation(row)
        except InputError as error:
            skip(f"{place}: {error}", on_skip)
            continue
        yield given
    if empty:
        raise InputError(f"{name} holds no conversations")


def _turns(row: Mapping[str, Any]) -> tuple[str, str]:
    """The user's question and the assistant's answer."""
    layout = next((name for name in _LAYOUTS if row.get(name) is not None), None)
    if layout is None:
        raise InputError("the row has neither conversations nor messages")
    role, text = _LAYOUTS[layout]
    turns = row[layout]
    if not isinstance(turns, list | tuple) or not all(isinstance(t, Mapping) for t in turns):
        raise InputError(f"{layout} is not a list of objects")
    contents = [found for turn in turns if (found := content_text(turn.get(text))) is not None]
    if len(contents) < len(turns):
        raise InputError(f"a turn of {layout} has no {text!r}")
    who = [_ROLES.get(str(turn.get(role)), str(turn.get(role))) for turn in turns]
    if who not in (["system", "user", "assistant"], ["user", "assistant"]):
        raise InputError(f"the turns are of {who}, expected a question and an answer")
    return contents[-2], contents[-1]


def _parsed_prompt(asked: str) -> tuple[str, Alphabet, tuple[str, ...]]:
    """The query, the kind of identifiers, and the passages that a prompt shows."""
    head, tails = _HEAD.search(asked), list(_TAIL.finditer(asked))
    if head is None or not tails:
        raise InputError("the user's turn is not a ranking prompt")
    tail = tails[-1]
    # The query may itself contain the words before it: the right ones make it equal to the first.
    for second in _AGAIN.finditer(asked, head.end(), tail.start()):
        query = asked[second.end() : tail.start()]
        opened = asked.startswith(query, head.end()) and _FIRST.match(
            asked, head.end() + len(query)
        )
        if opened:
            alphabet: Alphabet = "letters" if asked[opened.end() + 1] == "A" else "numbers"
            shown = asked[opened.end() : second.start()]
            return query, alphabet, _passages(shown, alphabet, int(tail[1]))
    raise InputError("the question does not give the same query before and after its passages")


def _passages(shown: str, alphabet: Alphabet, n: int) -> tuple[str, ...]:
    """The texts behind the identifiers, each from the beginning of a line."""
    found: list[str] = []
    start = -1
    for name in labels(alphabet, n):
        marker = re.compile(rf"^\[{name}\](?: |$)", re.MULTILINE).search(shown, max(start, 0))
        if marker is None:
            break
        if start >= 0:
            found.append(shown[start : marker.start()].rstrip("\n"))
        start = marker.end()
    found.append(shown[start:].rstrip("\n") if start >= 0 else "")
    if len(found) != n:
        raise InputError(f"the question names {n} passages and shows {len(found)}")
    return tuple(found)
