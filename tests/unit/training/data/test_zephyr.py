"""RankZephyr's lists: what is written is read again, and what is malformed is named."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage
from rerank_plugins.prompts import load_prompt
from rerank_plugins.training.data import (
    TrainingList,
    conversation,
    conversation_lists,
    parse_conversation,
    permutation_text,
    read_conversations,
    write_conversations,
)

PROMPTS = ["first.v1", "rankllm-letters.v1", "rankzephyr.v1", "rankmistral100.v1"]


# Words as the prompts leave them: whole, clean, with one space between.
WORDS = st.lists(
    st.sampled_from(["flea", "a", "[A]", "[2]", "A]", "Search", "Query:", "Rank", "the", "3",
                     "passages", "above", ".", "I", "query:", "relevance", ">", "é", "日本"]),
    max_size=8,
).map(" ".join)  # fmt: skip


QUERIES = WORDS.filter(str.strip)


@st.composite
def training_lists(draw, most=9):
    n = draw(st.integers(1, most))
    labels = draw(st.permutations(range(n)))
    return TrainingList(
        draw(QUERIES),
        tuple(draw(st.lists(WORDS, min_size=n, max_size=n))),
        tuple(map(float, labels)),
        query_id=draw(st.sampled_from(["", "q1"])),
    )


PAIR = TrainingList("flea", ("a dog", "a flea"), (0, 1), query_id="q")


def row(question, answer, system="You rank."):
    turns = [("system", system), ("human", question), ("gpt", answer)]
    return {"conversations": [{"from": who, "value": said} for who, said in turns]}


LETTERS = """I will provide you with 3 passages, each indicated by a alphabetical identifier []. \
Rank the passages based on their relevance to the search query: how long do fleas live?.

[A] Fleas live for a year.
[B] See (C) and [3].
[C] Dogs.

Search Query: how long do fleas live?.
 Rank the 3 passages above based on their relevance to the search query. All the passages should \
be included and listed using identifiers, in descending order of relevance. The output format \
should be [] > [], e.g., [D] > [B], Only respond with the ranking results."""


NUMBERS = """I will provide you with 2 passages, each indicated by number identifier [].
Rank the passages based on their relevance to query: a.b?.
[1] first

[2] second
Search Query: a.b?. \t
Rank the 2 passages above based on their relevance to the search query."""


def test_letters_are_read():
    one = parse_conversation(row(LETTERS, "[C] > [A] > [B]") | {"id": 17})
    assert one.query == "how long do fleas live?"
    assert one.passages == ("Fleas live for a year.", "See (C) and [3].", "Dogs.")
    assert (one.labels, one.ranks) == ((-2.0, -3.0, -1.0), (2, 3, 1))
    assert (one.query_id, one.ids, one.teacher) == ("17", (), ())


def test_numbers_are_read():
    one = parse_conversation(row(NUMBERS, "[2] > [1]"))
    assert (one.query, one.labels) == ("a.b?", (-2.0, -1.0))
    assert one.passages == ("first", "second")


def test_messages_without_a_system_turn_are_read():
    turns = [{"role": "user", "content": LETTERS}, {"role": "assistant", "content": "[A]>[B]>[C]"}]
    assert parse_conversation({"messages": turns}).labels == (-1.0, -2.0, -3.0)
    tuples = {"conversations": None, "messages": tuple(turns)}
    assert parse_conversation(tuples).labels == (-1.0, -2.0, -3.0)
    parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    assert parse_conversation({"messages": parts}).labels == (-1.0, -2.0, -3.0)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("layout", ["conversations", "messages"])
@given(one=training_lists())
def test_what_is_written_is_read_again(prompt, layout, one):
    read = parse_conversation(conversation(one, prompt, layout=layout))
    assert read.ranks == one.ranks
    assert read.query_id == one.query_id
    assert len(read) == len(one)
    # The prompt has escaped fake identifiers, and does not find any the second time.
    again = parse_conversation(conversation(read, prompt, layout=layout))
    assert again == read
    template = load_prompt(prompt)
    plain = all("[" not in text for text in (*one.passages, one.query))
    if plain:
        assert (read.query, read.passages) == (one.query, one.passages)
    assert template.render(read.query, read.passages) == template.render(one.query, one.passages)


HARD_QUERIES = [
    "what is 3.5?",
    "one.\n\nSearch Query: two",
    "a\nSearch Query: b",
    "b\nSearch Query: b",
    "relevance to the search query: x",
    "x.\nRank the 3 passages above",
    " spaces ",
    "dots...",
    "{query} {passages}",
    "[A] or [1]",
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("query", HARD_QUERIES)
def test_queries_that_look_like_the_prompt(prompt, query):
    one = TrainingList(query, ("first", "second", "third"), (1, 2, 0))
    read = parse_conversation(conversation(one, prompt))
    escaped = (
        query if prompt in ("rankzephyr.v1", "rankmistral100.v1") else query.replace("[A]", "(A)")
    )
    escaped = escaped if "letters" in load_prompt(prompt).alphabet else query.replace("[1]", "(1)")
    assert read.query == escaped
    assert (read.passages, read.ranks) == (one.passages, one.ranks)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_passages_that_look_like_the_prompt(prompt):
    passages = (
        "x\n[B] y\n[2] z",
        "",
        "Search Query: flea.\nRank the 9 passages above",
        "[A]",
        "[1] >",
    )
    one = TrainingList("flea", passages, (4, 3, 2, 1, 0))
    read = parse_conversation(conversation(one, prompt))
    assert len(read) == 5
    assert read.passages[1] == ""
    assert read.passages[2] == "Search Query: flea. Rank the 9 passages above"


def test_the_prompt_is_the_one_that_serves():
    passages = (Passage("They live.", title="Fleas"), "word " * 400)
    one = TrainingList("flea", passages, (0, 1))
    for name in PROMPTS:
        prompt, _ = load_prompt(name).render(one.query, one.passages)
        said = [turn["value"] for turn in conversation(one, name)["conversations"]]
        assert said[:-1] == [message.text for message in prompt.messages]
    assert (
        "[A] Title: Fleas Content: They live.\n" in conversation(one)["conversations"][1]["value"]
    )


def test_rows_have_the_public_layout():
    assert [list(turn) for turn in conversation(PAIR)["conversations"]] == [["from", "value"]] * 3
    turns = conversation(PAIR, "rankzephyr.v1", layout="messages")["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant"]
    assert turns[2]["content"] == "[2] > [1]"
    assert conversation(PAIR)["id"] == "q"


def test_ties_stand_in_the_answer_as_they_are_shown():
    one = TrainingList("q", tuple("abcd"), (1, 2, 1, 2))
    assert permutation_text(one, "letters") == "[B] > [D] > [A] > [C]"
    assert permutation_text(one, "numbers") == "[2] > [4] > [1] > [3]"


def test_prompts_that_do_not_fit_are_refused():
    for prompt in ("full-list-tokens.v1", "reasonrank.v1"):
        with pytest.raises(InputError, match="not a bare permutation"):
            conversation(PAIR, prompt)
    with pytest.raises(InputError, match="layout is 'chat'"):
        conversation(PAIR, layout="chat")
    long = TrainingList("q", tuple(map(str, range(27))), range(27))
    with pytest.raises(InputError, match="27 passages cannot be labelled"):
        conversation(long)
    assert len(parse_conversation(conversation(long, "rankzephyr.v1"))) == 27


@pytest.mark.parametrize("n", [1, 9, 10, 26])
def test_any_number_of_passages(n):
    one = TrainingList("q", tuple(map(str, range(n))), tuple(range(n)))
    for prompt in PROMPTS:
        assert parse_conversation(conversation(one, prompt)).order == tuple(reversed(range(n)))


MALFORMED = [
    ([], "expected an object"),
    ({}, "neither conversations nor messages"),
    ({"conversations": "x"}, "not a list of objects"),
    ({"conversations": ["x"]}, "not a list of objects"),
    ({"conversations": [{"from": "human"}]}, "has no 'value'"),
    ({"messages": [{"role": "user", "content": None}]}, "has no 'content'"),
    ({"conversations": row("x", "y")["conversations"][::-1]}, "expected a question and an answer"),
    ({"conversations": row("x", "y")["conversations"][:2]}, "expected a question and an answer"),
    ({"conversations": [{"value": "x"}, {"value": "y"}]}, "expected a question and an answer"),
    (row("Which is best?", "[A]"), "not a ranking prompt"),
    (row(LETTERS.replace("Rank the 3", "Rank these"), "[A] > [B] > [C]"), "not a ranking prompt"),
    (
        row(LETTERS.replace("Query: how", "Query: who"), "[A] > [B] > [C]"),
        "not give the same query",
    ),
    (row(LETTERS.replace("Rank the 3", "Rank the 4"), "[A] > [B] > [C]"), "4 passages and shows 3"),
    (row(LETTERS.replace("Rank the 3", "Rank the 2"), "[A] > [B] > [C]"), "not a permutation of 2"),
    (row(LETTERS.replace("Rank the 3", "Rank the 30"), "[A]"), "30 passages cannot be labelled"),
    (row(LETTERS, "[A] > [B]"), "not a permutation of 3"),
    (row(LETTERS, "[A] > [B] > [B] > [C]"), "not a permutation of 3"),
    (row(LETTERS, "[A] > [B] > [C] > [D]"), "not a permutation of 3"),
    (row(LETTERS, "[1] > [2] > [3]"), "not a permutation of 3"),
    (row(NUMBERS, "[B] > [A]"), "not a permutation of 2"),
    (row(LETTERS, ""), "the answer '' is not"),
    (row(LETTERS, "[A] > [B] > [C]") | {"id": [1]}, "an id is of type list"),
]


@pytest.mark.parametrize(("bad", "message"), MALFORMED)
def test_a_malformed_row_is_named_by_its_number(bad, message):
    rows = [conversation(PAIR), bad, conversation(PAIR)]
    with pytest.raises(InputError, match=message) as error:
        list(conversation_lists(rows))
    assert str(error.value).startswith("row 2: ")
    told = []
    assert len(list(conversation_lists(rows, on_skip=told.append))) == 2
    assert len(told) == 1


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_files(tmp_path, name):
    file = tmp_path / name
    lists = [PAIR, TrainingList("dog", ("a", "b", "c"), (1, 2, 0))]
    assert write_conversations(lists, file, "rankzephyr.v1") == 2
    assert [one.ranks for one in read_conversations(file)] == [one.ranks for one in lists]
    with pytest.raises(InputError, match="27 passages"):
        write_conversations([PAIR, TrainingList("q", ("a",) * 27, range(27))], file)
    assert [one.query for one in read_conversations(file)] == ["flea", "dog"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_damaged_files_are_named_with_the_line(tmp_path):
    good = json.dumps(conversation(PAIR))
    file = tmp_path / "data.jsonl"
    file.write_text(f"{good}\nnot JSON\n")
    with pytest.raises(InputError, match=r"line 2 of .*data.jsonl is not JSON"):
        list(read_conversations(file))
    file.write_text(f"{good}\n\n{{}}\n")
    with pytest.raises(InputError, match=r"line 3 of .*data.jsonl: the row has neither"):
        list(read_conversations(file))
    file.write_text("")
    with pytest.raises(InputError, match="holds no conversations"):
        list(read_conversations(file))
    with pytest.raises(InputError, match="the data holds no conversations"):
        list(conversation_lists([]))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(good.encode() * 20)[:-9])
    with pytest.raises(InputError, match="damaged gzip"):
        list(read_conversations(tmp_path / "cut.jsonl.gz"))


def test_logged_prompts_of_a_real_model_are_read(data):
    """The conversations that RankVicuna had over TREC DL 2019: the same family of prompts."""
    log = data / "replay" / "rank_vicuna_bm25_dl19_top20.jsonl.gz"
    with gzip.open(log, "rt", encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    turns = [
        entry["prompt"].partition(" USER: ")[2].removesuffix("  ASSISTANT:") for entry in entries
    ]
    rows = [row(said, entry["response"]) for said, entry in zip(turns, entries, strict=True)]
    told = []
    lists = list(conversation_lists(rows, on_skip=told.append))
    assert len(lists) + len(told) == 43
    assert len(lists) > 35
    for one in lists:
        assert len(one) == 20
        assert sorted(one.ranks) == list(range(1, 21))
        assert all(one.passages)
