"""Orders and grades read from models' answers. Repairs are counted, nothing is guessed."""

from .._content import answer_text
from ._grades import Grades, parse_grade, parse_grades
from ._none import says_none
from ._orders import parse_label, parse_permutation
from ._positions import Parsed

__all__ = [
    "Grades",
    "Parsed",
    "answer_text",
    "parse_grade",
    "parse_grades",
    "parse_label",
    "parse_permutation",
    "says_none",
]
