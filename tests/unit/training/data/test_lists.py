"""Training lists: what they refuse, how they are reordered, written and read."""

import gzip
import json
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage
from rerank_plugins.jobs import read_requests
from rerank_plugins.training import data
from rerank_plugins.training.data import TrainingList, check_lists, read_lists, write_lists

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


TEXTS = st.text(max_size=20)


LABELS = st.one_of(st.integers(0, 3).map(float), NUMBERS)


@st.composite
def training_lists(draw, least=1):
    n = draw(st.integers(least, 8))
    titles = draw(st.lists(TEXTS, min_size=n, max_size=n))
    texts = draw(st.lists(TEXTS, min_size=n, max_size=n))
    ids = draw(st.one_of(st.just(()), st.just(tuple(f"d{i}" for i in range(n)))))
    columns = st.lists(NUMBERS, min_size=n, max_size=n).map(tuple)
    return TrainingList(
        draw(st.text(min_size=1, max_size=20).filter(str.strip)),
        tuple(
            Passage(text, title=title) if title else text
            for text, title in zip(texts, titles, strict=True)
        ),
        tuple(draw(st.lists(LABELS, min_size=n, max_size=n))),
        query_id=draw(TEXTS.filter(lambda t: t == t.encode("utf-8", "replace").decode())),
        ids=ids,
        teacher=draw(st.one_of(st.just(()), columns)),
    )


def some(n=4, **more):
    texts = tuple(f"text {i}" for i in range(n))
    return TrainingList("flea", texts, tuple(map(float, range(n))), **more)


def titles(one):
    return [p.passage_title if isinstance(p, Passage) else "" for p in one.passages]


def rows(one):
    """Passages with all that belongs to them, in any order."""
    columns = (one.passages, one.labels, one.ids, one.teacher, titles(one))
    return sorted(zip(*(c for c in columns if c), strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"passages": ()}, "no passages"),
        ({"query": " \n"}, "blank"),
        ({"query": None}, "the query is not a string"),
        ({"passages": ("a", 3)}, "a passage is not a string"),
        ({"passages": "ab"}, "of type str"),
        ({"labels": 3}, "of type int"),
        ({"labels": (1.0,)}, "1 labels for 2"),
        ({"labels": (1.0, math.nan)}, "not finite"),
        ({"labels": (1.0, math.inf)}, "not finite"),
        ({"labels": (1.0, 10**400)}, "not finite"),
        ({"labels": (1.0, "2")}, "expected a number"),
        ({"labels": (1.0, True)}, "expected a number"),
        ({"labels": (1.0, None)}, "expected a number"),
        ({"teacher": (1.0,)}, "teacher has 1 entries for 2"),
        ({"teacher": (1.0, -math.inf)}, "teacher holds -inf"),
        ({"ids": ("a",)}, "ids has 1 entries for 2"),
        ({"ids": ("a", "a")}, "twice"),
        ({"ids": ("a", 2)}, "an id of a passage is not a string"),
        ({"query_id": 7}, "the query's id is not a string"),
    ],
)
def test_what_makes_no_list_is_refused_in_a_sentence(changes, message):
    fields = {"query": "flea", "passages": ("a", "b"), "labels": (0, 1)} | changes
    with pytest.raises(InputError, match=message):
        TrainingList(**fields)


def test_lists_become_tuples_and_labels_floats():
    one = TrainingList("flea", ["a", "b"], [0, 2], ids=["x", "y"], teacher=[1, 2])
    assert one == TrainingList("flea", ("a", "b"), (0.0, 2.0), ids=("x", "y"), teacher=(1.0, 2.0))
    assert all(type(label) is float for label in one.labels + one.teacher)
    assert hash(one) == hash(one.select((0, 1)))


@given(training_lists())
def test_a_rank_is_one_more_than_what_is_strictly_better(one):
    assert one.ranks == tuple(1 + sum(b > a for b in one.labels) for a in one.labels)


@given(training_lists())
def test_the_order_is_by_label_and_ties_keep_theirs(one):
    assert sorted(one.order) == list(range(len(one)))
    keys = [(-one.labels[i], i) for i in one.order]
    assert keys == sorted(keys)


def test_ties_share_their_best_rank():
    assert TrainingList("q", tuple("abcd"), (2, 3, 2, 0)).ranks == (2, 1, 2, 4)


def test_one_passage_and_equal_labels_teach_nothing():
    assert not some(1).is_informative
    assert not TrainingList("q", ("a", "b"), (1, 1)).is_informative
    assert some(2).is_informative


@given(training_lists(), st.integers())
def test_shuffling_loses_nothing_and_repeats_itself(one, seed):
    shuffled = one.shuffled(seed)
    assert rows(shuffled) == rows(one)
    assert shuffled == one.shuffled(seed)
    assert (shuffled.query, shuffled.query_id) == (one.query, one.query_id)


def test_another_seed_gives_another_order():
    one = some(20)
    assert len({one.shuffled(seed).labels for seed in range(10)}) == 10


def test_shuffled_lists_have_their_best_at_places_of_their_own():
    places = [
        TrainingList(f"query {i}", tuple("abcdefgh"), tuple(range(8))).shuffled(1).order[0]
        for i in range(400)
    ]
    counts = [places.count(place) for place in range(8)]
    assert all(25 <= count <= 80 for count in counts), counts  # 50 each, by chance


@given(training_lists(), st.integers(1, 10))
def test_cutting_keeps_the_first_ones(one, n):
    cut = one.cut(n)
    assert len(cut) == min(n, len(one))
    assert cut.passages == one.passages[:n]
    assert (cut.labels, cut.ids, cut.teacher) == (one.labels[:n], one.ids[:n], one.teacher[:n])


def test_cutting_to_nothing_and_impossible_positions_are_refused():
    with pytest.raises(InputError, match="n is 0"):
        some().cut(0)
    for positions in ((0, 0), (4,), (-1,)):
        with pytest.raises(InputError, match="not positions of 4"):
            some().select(positions)
    with pytest.raises(InputError, match="no passages"):
        some().select(())


@pytest.mark.parametrize("name", ["lists.jsonl", "lists.jsonl.gz"])
@given(lists=st.lists(training_lists(least=2), min_size=1, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory, name, lists):
    file = tmp_path_factory.mktemp("lists") / name
    skipped = []
    assert write_lists(lists, file) == len(lists)
    found = list(read_lists(file, on_skip=skipped.append))
    expected = [one for one in lists if one.is_informative]
    assert found == expected
    assert [titles(one) for one in found] == [titles(one) for one in expected]
    assert len(skipped) == len(lists) - len(expected)


def test_text_that_is_no_valid_unicode_survives(tmp_path):
    one = TrainingList("flea \ud800", ("\x00\u2028 [A]", 'a\n"b"\r'), (0, 1))
    write_lists([one], tmp_path / "lists.jsonl")
    assert list(read_lists(tmp_path / "lists.jsonl")) == [one]


def test_equal_lists_make_equal_bytes_and_gzip_is_gzip(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_lists([some(ids=tuple("abcd"))], tmp_path / name)
    compressed = (tmp_path / "a.jsonl.gz").read_bytes()
    assert compressed == (tmp_path / "b.jsonl.gz").read_bytes()
    assert json.loads(gzip.decompress(compressed))["candidates"][3] == {
        "id": "d",
        "text": "text 3",
        "label": 3.0,
    }


def test_a_file_with_ids_can_be_ranked(tmp_path):
    file = tmp_path / "lists.jsonl"
    write_lists([some(ids=tuple("abcd"), query_id="q")], file)
    [query] = read_requests(file.read_text().splitlines(), "lists")
    assert (query.query_id, query.ids) == ("q", tuple("abcd"))


def line(**changes):
    candidates = [{"id": "a", "text": "x", "label": 0}, {"id": "b", "text": "y", "label": 1}]
    return {"query_id": "q", "query": "flea", "candidates": candidates} | changes


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("not JSON", "is not JSON"),
        ("[1]", "is not a JSON object"),
        (json.dumps(line(candidates=None)), "candidates is not a list"),
        (json.dumps(line(candidates=[])), "there are no passages"),
        (json.dumps(line(candidates=[{"id": "a", "label": 1}])), r"candidates\[0\] has no text"),
        (json.dumps(line(candidates=[{"text": "a"}])), r"candidates\[0\] has no label"),
        (json.dumps(line(candidates=["a"])), r"candidates\[0\] has no text"),
        (json.dumps(line(query=None)), "the query is not a string"),
        (json.dumps(line(query_id=True)), "an id is of type bool"),
        (
            json.dumps(
                line(candidates=[{"text": "a", "label": 1, "id": 1}, {"text": "b", "label": 0}])
            ),
            "some candidates have 'id'",
        ),
        (
            json.dumps(
                line(
                    candidates=[{"text": "a", "label": 1, "teacher": 1}, {"text": "b", "label": 0}]
                )
            ),
            "some candidates have 'teacher'",
        ),
        ('{"query": "q", "candidates": [{"text": "a", "label": NaN}]}', "not finite"),
        (
            json.dumps(line(candidates=[{"id": "a", "text": "x", "label": 4}])),
            "has the label 4, expected 0 to 3",
        ),
        (
            json.dumps(line(candidates=[{"id": "a", "text": "x", "label": 1}])),
            "has one level of relevance",
        ),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, second, message):
    file = tmp_path / "lists.jsonl"
    file.write_text(f"{json.dumps(line())}\n\n{second}\n")
    with pytest.raises(InputError, match=message) as error:
        list(read_lists(file, grades=(0, 3)))
    assert "line 3 of" in str(error.value)
    assert str(file) in str(error.value)


def test_lists_of_one_level_are_left_out_where_somebody_is_told(tmp_path):
    file, skipped = tmp_path / "lists.jsonl", []
    write_lists([some(1, query_id="a"), some(2, query_id="b"), some(1, query_id="c")], file)
    assert [one.query_id for one in read_lists(file, on_skip=skipped.append)] == ["b"]
    assert [sentence.split(" of ")[0] for sentence in skipped] == ["line 1", "line 3"]


def test_labels_outside_the_grades_are_never_left_out():
    lists = [some(2), some(4, query_id="q2")]
    with pytest.raises(InputError, match=r"list 2 .*'q2'.* label 3, expected 0 to 2"):
        list(check_lists(lists, grades=(0, 2), on_skip=lambda _: None))


def test_files_that_are_missing_empty_or_damaged(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        list(read_lists(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no lists"):
        list(read_lists(tmp_path / "empty.jsonl"))
    write_lists([some() for _ in range(50)], tmp_path / "whole.jsonl.gz")
    whole = (tmp_path / "whole.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(InputError, match="damaged gzip"):
        list(read_lists(tmp_path / "cut.jsonl.gz"))


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "lists.jsonl"
    write_lists([some()], file)
    before = file.read_bytes()

    def interrupted():
        yield some(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lists(interrupted(), file)
    with pytest.raises(InputError, match="there are no lists to write"):
        write_lists([], file)
    assert [path.name for path in tmp_path.iterdir()] == ["lists.jsonl"]
    assert file.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
@pytest.mark.parametrize("name", ["lists.jsonl", "lists.jsonl.gz"])
def test_a_full_disk_leaves_the_old_file(tmp_path, name):
    file = tmp_path / name
    write_lists([some()], file)
    before = file.read_bytes()
    code = f"""
import random, resource, signal
from rerank_plugins.training.data import TrainingList, write_lists
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = random.Random(0)
texts = (noise.randbytes(50_000).hex(), "b")
write_lists([TrainingList("q", texts, (0, 1))], {str(file)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError: cannot write" in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert file.read_bytes() == before


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        write_lists([some()], tmp_path / "none" / "lists.jsonl")


def test_a_file_can_be_rewritten_from_itself(tmp_path):
    file = tmp_path / "lists.jsonl"
    write_lists([some(6), some(7)], file)
    write_lists((one.cut(2) for one in read_lists(file)), file)
    assert [len(one) for one in read_lists(file)] == [2, 2]


def test_public_names_are_sorted_and_documented():
    assert data.__all__ == sorted(data.__all__)
    assert all(getattr(data, name).__doc__ for name in data.__all__)


def test_importing_needs_neither_torch_nor_numpy():
    code = (
        "import sys, rerank_plugins.training.data\n"
        "print([m for m in ('torch', 'numpy', 'transformers', 'ftfy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_seed_means_the_same_in_every_process():
    code = (
        "from rerank_plugins.training.data import TrainingList\n"
        "one = TrainingList('flea', tuple('abcdefgh'), range(8))\n"
        "print(*one.shuffled(7).passages)"
    )
    orders = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(orders) == 1
