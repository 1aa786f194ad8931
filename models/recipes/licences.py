"""Files of training lists that state the licence of their texts.

Each line has a field ``licence`` beside those of `rerank_plugins.training.data.read_lists`, which
leaves it alone. These recipes write such files, and refuse to train on others: what a shipped
model's card says of its data must be true.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rerank_plugins import InputError
from rerank_plugins._files import rows_of
from rerank_plugins.training.data import TrainingList, read_lists, write_lists
from rerank_plugins.training.data._lists import write_rows

LICENCES: Mapping[str, str] = {
    "covidqa": "Apache-2.0 (COVID-QA, deepset)",
    "pubmedqa": "MIT (PubMedQA)",
    "scifact": "CC BY 4.0 (claims) and ODC-By 1.0 (abstracts), Allen Institute for AI",
    "titles": "ODC-By 1.0 (abstracts), Allen Institute for AI",
    "wordnet": "WordNet licence (Princeton University)",
    "python-docs": "PSF licence (Python Software Foundation)",
}
"""The licence of each source, and whom it names."""


def write_licensed(lists: Iterable[tuple[TrainingList, str]], path: Path) -> int:
    """Write lists, each with its licence, and return their number.

    Raises:
        InputError: A licence is blank, or there are no lists.
    """
    both = list(lists)
    if any(not licence.strip() for _, licence in both):
        raise InputError("a list has no licence")
    write_lists([one for one, _ in both], path)
    rows = [row for _, row in rows_of(path)]
    return write_rows(
        ({"licence": licence} | row for row, (_, licence) in zip(rows, both, strict=True)), path
    )


def read_licensed(path: Path) -> tuple[list[TrainingList], list[str]]:
    """The lists of a file, and the licences of its texts, each once.

    Raises:
        InputError: A line states no licence.
    """
    found = {licence_of(row, number, path): None for number, row in rows_of(path)}
    return list(read_lists(path)), list(found)


def licence_of(row: Mapping[str, object], number: int, path: Path) -> str:
    """The licence that a line states.

    Raises:
        InputError: It states none.
    """
    licence = row.get("licence")
    if not isinstance(licence, str) or not licence.strip():
        raise InputError(
            f"line {number} of {path} states no licence",
            hint="Give each line a field licence, such as 'CC BY 4.0 (whom to name)'. What is "
            "trained on texts of unknown licence is not shipped.",
        )
    return licence
