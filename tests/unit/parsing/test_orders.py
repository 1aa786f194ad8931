"""The parser against what real models wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.parsing import answer_text, parse_label, parse_permutation
from rerank_plugins.text import escape_identifiers


def positions(text: str, n: int = 20, alphabet="numbers") -> tuple[int, ...]:
    return parse_permutation(text, n, alphabet).positions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[2] > [3] > [1]", (1, 2, 0)),
        ("\n[4] > [6] > [13]", (3, 5, 12)),
        ("12] > [13] > [6]", (11, 12, 5)),
        ("611 > [11] > [2]", (10, 1)),
        ("100% of the passages should be included. [11] > [3]", (10, 2)),
        ("1. [1] > [2] 2. [1] > [3]", (0, 1, 2)),
        ("1. [14] > 2. [19] > 3. [2]", (13, 18, 1)),
        ("[3, 1, 2]", (2, 0, 1)),
        ("[3 > 1 > 2]", (2, 0, 1)),
        ("3 > 1 > 2", (2, 0, 1)),
        ("3, 1, 2.", (2, 0, 1)),
        ("3\n1\n2", (2, 0, 1)),
        ("[ 3 ] > [ 1 ]", (2, 0)),
        ("[\uff13] > [\u0661] > [2]", (2, 1)),  # full-width 3; an Arabic 1 has no ASCII form
        ("The order is [2] > [1], since [2] names the year.", (1, 0)),
        ("[1] > [2] > [1", (0, 1)),
        ("[1] > 3] > [2]", (0, 2, 1)),
        ("[see 7] [2]", (1,)),
        # Unusable: nothing that is clearly an identifier.
        ("[] > [] > []", ()),
        ("20 passages have been provided.", ()),
        ("10 passages will be listed.", ()),
        ("1. Fleas live 2 years", ()),
        ("7", ()),
        ("", ()),
        ("\U0001f600 \U0001f600", ()),
    ],
)
def test_numbers(text, expected):
    assert positions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[B] > [A] > [C]", (1, 0, 2)),
        ("B] > [A]", (1, 0)),
        ("B > A > C", (1, 0, 2)),
        ("[b] > [A]", (0,)),
        ("[AB] > [C]", (2,)),
        ("A dog is B", ()),
        ("[1] > [2]", ()),
    ],
)
def test_letters(text, expected):
    assert positions(text, 20, "letters") == expected


def test_what_was_wrong_is_counted():
    parsed = parse_permutation("[2] > [2] > [0] > [21] > [1] > [1]", 20)
    assert (parsed.positions, parsed.duplicates, parsed.out_of_range) == ((1, 0), 2, 2)


def test_what_was_left_out_follows_in_the_input_order():
    assert parse_permutation("[3]", 4).completed(4) == (2, 0, 1, 3)


def test_a_number_too_long_to_be_one_is_out_of_range():
    assert parse_permutation(f"[{'9' * 5000}] > [1]", 3).positions == (0,)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>[1] is fine</think> [2] > [1]", " [2] > [1]"),
        ("<think>a</think>b</think>[2]", "[2]"),
        ("no tag: [1]</think>[2]", "[2]"),
        ("<think>[1] > [2] was cut o", ""),
        ("[2] > [1]", "[2] > [1]"),
        ("", ""),
    ],
)
def test_reasoning_is_never_mined(text, answer):
    assert answer_text(text) == answer


CHAINS = [
    ("Passage [1] is off topic and [4] is weak. Final ranking: [3] > [5] > [2] > [4] > [1]"),
    ("[3] > [5] > [2] > [4] > [1]. Passage [1] is off topic and [4] is weak."),
    ("[3] > [5] > [2] > [4] > [1], since [3] > [5] is clear, and [1] is not about [5]."),
    ("Draft: [1] > [2] > [3] > [4] > [5].\nFinal: [3] > [5] > [2] > [4] > [1]"),
    ("[1] > [2] > [3] > [4] > [5]\n[3] > [5] > [2] > [4] > [1]"),
    ("As to [1], [3] > [5] > [2] > [4] > [1]"),
    ("[1], [2], [3] and [4] are on topic. [3] > [5] > [2] > [4] > [1]"),
    ("1. [1] is about cats.\n2. [2] is about dogs.\n\n[3] > [5] > [2] > [4] > [1]"),
    ("[1] is weak.\n\n**Ranking:** [3] > [5] > [2] > [4] > [1]<|im_end|>"),
    ("[1] is weak.\nRanking: [3], [5], [2], [4], [1]"),
    ("[1] is weak.\nRanking: [3], [5], [2], [4] and [1]."),
    ("[1] is weak. The order is [3], [5], [2], [4], [1], I think."),
    ("[1] is weak:\n[3]\n[5]\n[2]\n[4]\n[1]"),
    ("[1] is weak:\n\n1. [3]\n2. [5]\n3. [2]\n4. [4]\n5. [1]\n\nI hope this helps, as [1]!"),
    ("1. [3] is about fleas\n2. [5] names [3]\n3. [2] may be\n4. [4] is weak\n5. [1] is not"),
    ("[3] They live long.\n[5] A flea.\n[2] Dogs.\n[4] Cats.\n[1] Birds."),
    ("[3] > [5] >\n[2] > [4] > [1]"),
    ("[3] > [5]\n[2] > [4] > [1]"),
    ("[3] (on fleas) > [5] (dogs) > [2] > [4] > [1] (birds)"),
    ("Passage [3] > Passage [5] > passage [2] > Passage [4] > Passage [1]"),
    ("[1] is weak. [[3]] > [[5]] > [[2]] > [[4]] > [[1]]"),
    ("[1] is weak. [3] \u2192 [5] \u2192 [2] \u2192 [4] \u2192 [1]"),
    ("[1] is weak. \u30103\u3011 > \u30105\u3011 > \uff3b2\uff3d > [\uff14] > [ 1 ]"),
    ("The format is [] > []. [3 > 5 > 2 > 4 > 1]"),
    ("12] is weak. [3] > [5] > [2] > [4] > [1]"),
]


@pytest.mark.parametrize("text", CHAINS)
def test_a_chain_comes_before_identifiers_in_prose(text):
    assert positions(text, 5) == (2, 4, 1, 3, 0)
    letters = text.translate(str.maketrans("12345\uff14", "ABCDE\uff24"))
    if "[A] is about cats" not in letters and "A. [C]" not in letters:  # list numbers
        assert positions(letters, 5, "letters") == (2, 4, 1, 3, 0)


@pytest.mark.parametrize(
    "text",
    [
        "Passage [1] is off topic and [4] is weak.",
        "[1] is off topic. [4] is weak.",
        "The most relevant passage is [3].",
        "Passage [1] is off topic. Final ranking: 3 > 5 > 2 > 4 > 1",
        "I cannot rank these: [2] and [3] are about the same thing.",
        "[4] is weak.\n[2] is off topic.",
        "[3] < [1] < [2]",
        "the p-value of [1] (p > 0.05) and [4]",
        "see 2] > 1] > 3]",
    ],
)
def test_prose_without_a_chain_is_malformed(text):
    assert positions(text, 5) == ()


orders = st.integers(2, 8).flatmap(lambda n: st.permutations(range(1, n + 1)))
identifiers = st.integers(1, 8).map("[{}]".format)
words = st.sampled_from(
    ["is weak", "names", "and", "Passage", "not about", "a 3 of 5", "(as said)"]
)
sentences = st.tuples(words, identifiers, st.just("is off topic"), words, identifiers, words)
prose = st.lists(sentences.map(lambda s: "Well, " + " ".join(s) + ".")).map(" ".join)
reasons = st.sampled_from(
    [
        "{}",
        "<think>{}</think>\n",
        "<Reasoning>{}</Reasoning>",
        "[THINK]{}[/THINK]",
        "\u25c1think\u25b7{}\u25c1/think\u25b7",
        "{}</seed:think>",
        "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    ]
)


@given(orders, prose, prose, reasons, st.sampled_from(["[{}]", "[ {} ]", "\u3010{}\u3011"]))
def test_a_complete_chain_is_read_wherever_it_stands(order, before, after, reason, form):
    chain = " > ".join(form.format(i) for i in order)
    text = reason.format(f"{before} Draft: {chain}. ") + f"{before} Order: {chain}. {after}"
    read = parse_permutation(text, len(order))
    assert read.positions == tuple(i - 1 for i in order)
    assert (read.duplicates, read.out_of_range) == (0, 0)
    best = parse_label(text, len(order), "numbers")
    assert best == order[0] - 1


pieces = st.sampled_from(
    [
        *"[]()12AB >;\n:x.-",
        *"\u3010\u3011\uff3b\uff3d\ufe47\ufe48\ufe3b\u00a0\uff12\uff21\u00b2\u2460\U0001d7d0\uff1e",
        *("\u2192", "\u0661", "[1]", "> [2]", "[ 1 ]", "[A]", "1] >"),
    ]
)


@given(st.lists(pieces, max_size=30).map("".join), st.sampled_from(["numbers", "letters"]))
def test_a_document_cannot_write_what_is_read(document, alphabet):
    for n in (2, 20):
        quoted = "The text: " + escape_identifiers(document, alphabet, most=n)
        assert parse_permutation(quoted, n, alphabet).positions == ()


@given(st.text("[]>123 \n.,:-abB\u3010\uff12\u2192<>/", max_size=80), st.integers(1, 5))
def test_any_text_is_read_as_distinct_positions(text, n):
    for alphabet in ("numbers", "letters"):
        read = parse_permutation(text, n, alphabet)
        assert len(set(read.positions)) == len(read.positions)
        assert all(0 <= position < n for position in read.positions)
        label = parse_label(text, n, alphabet)
        assert label is None or 0 <= label < n


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("[3]", 2),
        ("3", 2),
        ("\u30103\u3011", 2),
        ("[ 3 ]", 2),
        ("<thinking>[1] or [2]?</thinking>[3]", 2),
        (
            "<|channel|>analysis<|message|>[1]?<|end|><|start|>assistant<|channel|>final<|message|>3",
            2,
        ),
        ("Passage [1] is off topic, [2] is weak.\n\n[3]", 2),
        ("Passage [1] is off topic. [3] > [1] > [2]", 2),
        ("[3] > [1] > [2], since [1] is off topic", 2),
        ("3 > 1 > 2", 2),
        ("[3] is the most relevant passage", 2),
        ("[3], [1]", None),
        ("[3] or [1]", None),
        ("[1] is weak and [2] is not", None),
        ("[7]", None),
        ("<think>[1]", None),
        ("It is 3.", None),
        (r"\boxed{3}", 2),
        (r"So it is \boxed{\text{3}}.", 2),
        (r"\boxed{3} or \boxed{1}", None),
        ("Answer: 3", 2),
        ("**Final answer:** Passage 3", 2),
        ("The most relevant passage is Passage 3.", 2),
        ("Passage 3 is the most relevant passage to the query.", 2),
        ("Passage 3 is not relevant", None),
        ("(3)", 2),
        ("**3**", 2),
        ('{"answer": "3"}', 2),
        ("Passage 3 or 1", None),
        ("3.5", None),
        ("3 passages", None),
    ],
)
def test_the_one_passage_that_an_answer_names(text, label):
    assert parse_label(text, 3, "numbers") == label
    if "3" in text and label == 2 and "\u3010" not in text:
        letters = text.replace("3", "C").replace("1", "A").replace("2", "B")
        assert parse_label(letters, 3, "letters") == label


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{3 > 1 > 2}",
        r"$\boxed{3, 1, 2}$",
        "Ranking: 3 > 1 > 2",
        "**Final answer:** 3, 1, 2.",
        "The order is 3, 1, 2.",
        "3 \u2192 1 \u2192 2",
    ],
)
def test_a_title_may_stand_before_numbers_without_brackets(text):
    assert positions(text, 3) == (2, 0, 1)
    assert positions("I think " + text, 3) == ()


names = st.one_of(st.integers(0, 40).map(str), st.sampled_from("ABCZ"), st.just("999999999"))


@given(
    st.lists(names, min_size=1, max_size=30),
    st.sampled_from(["", " ", "\n"]),
    st.sampled_from(["", ".", "\n", ". "]),
    st.integers(1, 30),
    st.sampled_from(["numbers", "letters"]),
)
def test_the_usual_chain_is_read_as_every_other(found, space, end, n, alphabet):
    usual = f"{space}>{space}".join(f"[{name}]" for name in found) + end
    other = usual.replace(">", "\u2192")  # is not recognised as the usual one
    read = parse_permutation(usual, n, alphabet)
    assert read == parse_permutation(other, n, alphabet)
    assert read == parse_permutation(f"<think>[1]</think>{usual}", n, alphabet)
    assert read == parse_permutation(f"<answer>{usual}</answer>", n, alphabet, reasoning=True)
    assert parse_permutation(usual, n, alphabet, reasoning=True).positions == ()


UNKNOWN = ["cot", "innerThoughts", "deliberation", "plan", "explanation", "step", "section"]


@pytest.mark.parametrize("tag", UNKNOWN)
@pytest.mark.parametrize("between", ["", " ", "\n", "\n\n"])
def test_the_end_of_an_unknown_tag_is_no_arrow(tag, between):
    """The last chain counts, and not one that goes on after the tag."""
    answer = f"<{tag}>[2] > [1] > [3]</{tag}>{between}[3] > [2] > [1]"
    found = parse_permutation(answer, 3)
    assert (found.positions, found.duplicates) == ((2, 1, 0), 0)
    assert parse_label(f"<{tag}>[1]</{tag}>{between}[3]", 3, "numbers") == 2


@pytest.mark.parametrize("arrow", ["\u279c", "\u2794", "\u27a4", "\u27f6", "\u27f9", "&gt;", ">"])
def test_arrows_of_all_kinds(arrow):
    assert parse_permutation(f"[3] {arrow} [2] {arrow} [1]", 3).positions == (2, 1, 0)


def test_an_order_in_json_comes_after_the_one_in_its_reasoning():
    answer = '{"reasoning": "first [2] > [1] > [3]", "ranking": [3, 2, 1]}'
    assert parse_permutation(answer, 3).positions == (2, 1, 0)
