"""Options that commands share, and what is loaded for their values."""

import json
import sys
from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner

from rerank_plugins import (
    InputError,
    MissingExtraError,
    Reranker,
    UnknownNameError,
    load_reranker,
)
from rerank_plugins.cli._arguments import (
    json_option,
    load_first_stage,
    load_spec,
    named_reranker,
    parse_json,
    queries_option,
    read_text,
    reranker_label,
    reranker_option,
    split_option,
    strategy_spec,
)
from rerank_plugins.presets import DEFAULT_PRESET
from rerank_plugins.strategies import PairScore, SlidingWindow

SPEC = {"strategy": "pair-score", "backend": "constant", "on_error": "keep_order"}


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_a_spec_file(tmp_path, suffix):
    file = tmp_path / f"spec{suffix}"
    file.write_text(json.dumps(SPEC))  # JSON is YAML too
    assert load_spec(str(file)) == SPEC
    reranker = named_reranker(str(file))
    assert (reranker.strategy, reranker.on_error) == (PairScore(), "keep_order")


def test_a_spec_file_in_yaml_s_own_form(tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text("strategy: pair-score\nbackend: {name: constant}\n")
    assert load_spec(str(file)) == {"strategy": "pair-score", "backend": {"name": "constant"}}


def test_a_checkpoint():
    assert isinstance(named_reranker("castorini/first_mistral").strategy, SlidingWindow)
    with pytest.raises(UnknownNameError, match="'no/such' is not a known checkpoint"):
        named_reranker("no/such")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.json", "{", "'x.json' is not JSON"),
        ("x.yaml", "a: [", "'x.yaml' is not YAML"),
        ("x.json", "[]", "'x.json' is not a mapping"),
        ("x.yml", "word", "'x.yml' is not a mapping"),
        ("x.json", None, "there is no spec file 'x.json'"),
    ],
)
def test_damaged_spec_files(tmp_path, monkeypatch, name, text, says):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says):
        load_spec(name)


def test_without_pyyaml_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.yaml").write_text("a: 1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"rerank-plugins\[cli\]"):
        load_spec(str(tmp_path / "x.yaml"))


def test_the_spec_of_a_strategy(tmp_path):
    spec = {"name": "sliding-window", "size": 4}
    (tmp_path / "s.json").write_text(json.dumps(spec))
    assert strategy_spec("pointwise") == "pointwise"
    assert strategy_spec(json.dumps(spec)) == spec
    assert strategy_spec(" " + json.dumps(spec)) == spec
    assert strategy_spec(str(tmp_path / "s.json")) == spec
    with pytest.raises(InputError, match="--strategy is not JSON"):
        strategy_spec("{")


def test_text_and_json(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff")
    for path in (tmp_path / "a", tmp_path / "none"):
        with pytest.raises(InputError, match=f"cannot read '{path}': "):
            read_text(str(path))
    assert parse_json("[1, null]", "x") == [1, None]
    with pytest.raises(InputError, match=r"^--loss-options is not JSON: "):
        parse_json("{'a': 1}", "--loss-options")


def test_scores_of_a_run(tmp_path, capsys):
    run = tmp_path / "a.trec"
    run.write_text("q Q0 a 1 2.5 x\nq Q0 b 2 1 x\n")
    found = {"q": ["a", "b"]}
    assert load_first_stage(str(run)) == (found, {"q": {"a": 2.5, "b": 1.0}})
    run.write_text("q Q0 a 1 1 x\nq Q0 b 2 2.5 x\n")
    assert load_first_stage(str(run)) == (found, {"q": {"a": -1.0, "b": -2.5}})
    assert capsys.readouterr().err.endswith("rise along the ranks: they are distances\n")
    run.write_text("q Q0 a 1 1 x\nq Q0 b 2 2.5 x\nr Q0 a 1 2 x\nr Q0 b 2 1 x\n")
    assert load_first_stage(str(run)) == (found | {"r": ["a", "b"]}, None)
    assert capsys.readouterr().err.endswith("they are left out\n")
    with pytest.raises(InputError, match="there is no file"):
        load_first_stage(str(tmp_path / "none"))
    assert capsys.readouterr().err == ""


def test_without_a_name_the_default_ranks_and_says_so(capsys):
    if find_spec("rerank_plugins_models") is None:
        pytest.skip("no models: pip install ./models")
    assert named_reranker().to_spec() == load_reranker().to_spec()
    assert capsys.readouterr() == ("", f"without --reranker, {DEFAULT_PRESET} ranks\n")
    assert named_reranker(strategy="pair-score").strategy == PairScore()


def test_a_reranker_as_json():
    reranker = named_reranker(json.dumps(SPEC))
    assert (reranker.strategy, reranker.on_error) == (PairScore(), "keep_order")
    given = '{"model": "a/b", "strategy": "first", "device": "cpu"}'
    assert named_reranker(given).backend.device == "cpu"
    with pytest.raises(InputError, match="--reranker is not JSON"):
        named_reranker("{")


def test_short_names_of_rerankers():
    for name in ("castorini/first_mistral", "spec.yaml"):
        assert reranker_label(name) == name
    assert reranker_label("https://host/v1") == "host"
    assert reranker_label(json.dumps(SPEC)) == "reranker"


def test_shared_options():
    @click.command()
    @reranker_option
    @split_option
    @queries_option
    @json_option("Print something as JSON.")
    def show(**given):
        click.echo(repr(given))

    found = CliRunner().invoke(show, ["--reranker", "r"])
    expected = {"reranker": "r", "split": "test", "queries": None, "as_json": False}
    assert found.output == f"{expected!r}\n"
    assert "'reranker': None" in CliRunner().invoke(show, []).output
    assert CliRunner().invoke(show, ["--reranker", "r", "--queries", "0"]).exit_code == 2
    assert "Print something as JSON." in CliRunner().invoke(show, ["--help"]).output


def test_a_loaded_reranker_ranks(tmp_path):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(SPEC))
    reranker = named_reranker(str(file))
    assert isinstance(reranker, Reranker)
    assert reranker.rank("q", ["a", "b"]).order == (0, 1)


def test_an_instruction_goes_into_the_reranker():
    given = json.dumps({"strategy": "pointwise", "backend": {"name": "transformers", "model": "x"}})
    assert named_reranker(given, instruction="Find code.").strategy.instruction == "Find code."
    with pytest.raises(InputError, match="has no place for an instruction"):
        named_reranker(instruction="Find code.")
