"""Tokens without transformers are those of transformers, and no text becomes a control token."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rerank_plugins import CallError, ModelLoadError, PromptTooLongError
from rerank_plugins.backends._onnx.files import Exported
from rerank_plugins.backends._onnx.tokens import Tokens
from rerank_plugins.backends._prompts.renderer import Renderer

ROOT = Path(__file__).parents[4]
MINILM = ROOT / "models" / "rerank_plugins_models" / "minilm-cross-encoder"
CORPUS = ["Fleas are small insects that feed on blood.", "a <b>bold</b> claim, 5 < 6 > 4"] * 9
FAKES = [
    *("[SEP]", "[CLS] [PAD]", "[sep]", "[ SEP ]", "\uff3bSEP\uff3d", "[SE\u200bP]", "[MASK]"),
    *("<s>", "</s>", "<pad>", "<unk>", "<|tag|>", "<|late|>", "<|tag|", "< /s>", "\uff1c/s\uff1e"),
    *(
        "\ud800 \udfff",
        "\x00\x1b[31m\ufeff\ufffe",
        "\u05e9\u05dc\u05d5\u05dd",
        "caf\u00e9",
        "\u0130",
    ),
    *("", " \n\t", "\u4e2d\u6587", "\U0001f468\u200d\U0001f469", "x" * 300, "\u2581</s>"),
]


def _bytes(library):
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = library.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = library.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made.add_tokens(["<|tag|>"])  # not special, and a mark all the same
    return made


def _pieces(library):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "\u2581flea", *"abcdefstxyz<>/|[]"]
    made = library.Tokenizer(library.models.Unigram([(p, -i / 9) for i, p in enumerate(pieces)], 3))
    made.normalizer = library.normalizers.NFKC()
    made.pre_tokenizer = library.pre_tokenizers.Metaspace()
    made.decoder = library.decoders.Metaspace()
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    made.post_processor = library.processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    library = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    found = {"minilm": MINILM}
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    for name, make in {"bytes": _bytes, "pieces": _pieces}.items():
        found[name] = tmp_path_factory.mktemp(name)
        made = transformers.PreTrainedTokenizerFast(tokenizer_object=make(library), **names)
        made.save_pretrained(found[name])
    # A token that only the tokenizer's configuration has.
    path = found["pieces"] / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**config, "extra_special_tokens": ["<|late|>"]}))
    return found


@pytest.fixture(params=["minilm", "bytes", "pieces"])
def both(request, folders):
    transformers = pytest.importorskip("transformers")
    folder = folders[request.param]
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    return Tokens(Exported("m", folder / "model.onnx", folder)), theirs


texts = st.lists(
    st.one_of(
        st.sampled_from([*FAKES, *CORPUS[:2]]),
        st.text(st.characters(exclude_categories=()), max_size=12),
        st.text("<|>/stagSEPsep[] \n", max_size=12),
    ),
    max_size=5,
).map("".join)


def test_pairs_are_those_of_transformers(both):
    """The same ids, types, cut and escaping, and the special tokens are the form's own."""
    ours, theirs = both
    escape = Renderer(theirs).escape
    special = set(theirs.all_special_ids) - {theirs.unk_token_id}
    form = [i for i in theirs("a", "a")["input_ids"] if i in special]

    @settings(max_examples=150, deadline=None)
    @given(texts, texts, st.sampled_from([16, 40, 512]))
    @example("flea", "".join(FAKES), 512)
    def check(query, passage, limit):
        try:
            query_text, passage_text = escape(query), escape(passage)
        except CallError:
            with pytest.raises(CallError):
                ours.pair(query, passage, limit)
            return
        asked = len(theirs(query_text, add_special_tokens=False)["input_ids"])
        if asked + len(form) >= limit:
            return
        row = ours.pair(query, passage, limit)
        cut = {"truncation": "only_second", "max_length": limit}
        # In lists: alone, an empty passage would count as none.
        pair = [query_text], [passage_text]
        right = theirs(*pair, return_token_type_ids=True, verbose=False, **cut)
        assert list(row.ids) == right["input_ids"][0]
        assert list(row.types) == right["token_type_ids"][0]
        assert row.cut == (
            len(theirs(query_text, passage_text, verbose=False)["input_ids"]) > limit
        )
        assert [i for i in row.ids if i in special] == form

    check()


def test_single_texts_are_those_of_transformers(both):
    ours, theirs = both
    before, after = ours.around

    @settings(max_examples=60, deadline=None)
    @given(texts)
    def check(text):
        try:
            right = Renderer(theirs).escape(text)
        except CallError:
            return
        whole = theirs(right, verbose=False)["input_ids"]
        assert [*before, *ours.ids(text), *after] == whole

    check()


def test_a_long_text_is_cut(both):
    ours, _ = both
    for text in ("x" * 99_000, "word " * 20_000, "[SEP]</s>" * 9_000):
        row = ours.pair("flea", text, 64)
        assert len(row.ids) == 64 or not row.cut  # MiniLM takes a long word for an unknown one


def test_a_query_that_leaves_no_room_is_refused(both):
    ours, theirs = both
    tokens = len(theirs("a cat " * 30, add_special_tokens=False)["input_ids"])
    room = 20 - len(theirs([""], [""])["input_ids"][0])
    with pytest.raises(PromptTooLongError) as found:
        ours.pair("a cat " * 30, "flea", 20)
    assert found.value.excess_tokens == tokens + 1 - room
    assert ours.pair("a", "flea " * 30, 20).cut  # and the next one is answered
    assert len(ours.ids("flea " * 30)) >= 30


def test_limits_and_padding_are_the_models(tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(MINILM / name, tmp_path)
    exported = Exported("m", tmp_path / "model.onnx", tmp_path)
    assert (Tokens(exported).stated_limit, Tokens(exported).padding) == (512, 0)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    changed = {**config, "model_max_length": 1e30, "pad_token": {"content": "[MASK]"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(changed))
    (tmp_path / "config.json").write_text("{}")
    assert Tokens(exported).stated_limit > 1e6
    assert Tokens(exported).padding == 103


def test_a_tokenizer_that_is_missing_or_damaged(tmp_path):
    pytest.importorskip("tokenizers")
    exported = Exported("m", tmp_path / "model.onnx", tmp_path)
    with pytest.raises(ModelLoadError, match=r"'m' has exported weights and no tokenizer\.json"):
        Tokens(exported)
    for damaged in ("", "{}", "[1]", '{"model": {"type": "WordPiece"}}'):
        (tmp_path / "tokenizer.json").write_text(damaged)
        with pytest.raises(ModelLoadError, match=r"tokenizer\.json' is damaged"):
            Tokens(exported)
