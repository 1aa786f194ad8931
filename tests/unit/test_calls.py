"""Orders that end an answer."""

import pytest

from rerank_plugins.calls import WrittenOrder

ORDER = WrittenOrder(("A", "B", "C"), 2)


@pytest.mark.parametrize(
    ("answer", "left", "stop"),
    [
        ("", 2, 0),
        ("\n", 2, 0),
        ("[", 2, 0),
        ("[B", 2, 0),
        ("[B]", 1, 3),
        ("[B]\n> [", 1, 3),
        ("[B] > [B] > [Z]", 1, 15),
        ("[B] > [A] > [C]", 0, 9),
        ("[B]>[A] and more", 0, 7),
        ("[B], [A]", None, 3),
        ("[B] [A]", None, 3),
        ("[B] > ", 1, 3),
        ("[B] > it", None, 3),
        ("B] > [A]", None, 0),
        ("Ranking: [B] > [A]", None, 0),
        ("<think>[B] > [A]", None, 0),
        ("[" + "B" * 10, None, 0),
    ],
)
def test_what_an_answer_lacks(answer, left, stop):
    assert ORDER.progress(answer) == (left, stop)
