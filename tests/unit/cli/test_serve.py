"""``rerank-plugins serve``: its options become settings, its key comes from outside."""

import pytest
from click.testing import CliRunner

from rerank_plugins import InputError, serving
from rerank_plugins.cli._serve import serve


@pytest.fixture
def started(monkeypatch):
    """What the service was started with."""
    found = {}
    monkeypatch.setattr(serving, "create_app", lambda *given, **named: (given, named))
    monkeypatch.setattr(serving, "serve", lambda app, **named: found.update(app=app, **named))
    return found


def test_options_become_settings(started):
    given = ["castorini/first_mistral", "--port", "0", "--alias", "a", "--alias", "b"]
    found = CliRunner().invoke(serve, [*given, "--max-queue", "0", "--timeout", "2.5"])
    assert found.exit_code == 0, found.output
    assert (started["host"], started["port"]) == ("127.0.0.1", 0)
    settings = started["app"][1]["settings"]
    assert settings.names == ("castorini/first_mistral", "a", "b")
    assert (settings.max_queue, settings.timeout_s, settings.max_concurrency) == (0, 2.5, 4)
    assert started["app"][1]["api_key"] is None


def test_a_port_has_a_range(started):
    found = CliRunner().invoke(serve, ["--port", "99999"])
    assert (found.exit_code, started) == (2, {})
    assert "99999 is not in the range 0<=x<=65535" in found.output


def test_other_names_and_pages_can_be_refused(started):
    for options, expected in (([], (False, True)), (["--strict", "--no-page"], (True, False))):
        assert CliRunner().invoke(serve, ["castorini/first_mistral", *options]).exit_code == 0
        settings = started["app"][1]["settings"]
        assert (settings.strict, settings.page) == expected


def test_a_spec_file_names_the_model(started, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"strategy": "pair-score", "backend": "constant"}')
    for option, name in (([], "mine"), (["--model", "other"], "other")):
        assert CliRunner().invoke(serve, [str(file), *option]).exit_code == 0
        assert started["app"][1]["settings"].model == name


def test_the_option_and_the_old_argument(started, tmp_path):
    for given in (["first_mistral"], ["--reranker", "first_mistral"]):
        assert CliRunner().invoke(serve, given).exit_code == 0
        assert started["app"][0][0].backend.model == "castorini/first_mistral"
        assert started["app"][1]["settings"].model == "first_mistral"
    spec = '{"strategy": "pair-score", "backend": "constant"}'
    assert CliRunner().invoke(serve, ["--reranker", spec]).exit_code == 0
    assert started["app"][1]["settings"].model == "reranker"
    both = CliRunner().invoke(serve, ["a", "--reranker", "b"])
    assert "give either NAME or --reranker NAME" in str(both.exception)


def test_the_key(started, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "from-outside")
    (tmp_path / "key").write_text("from-a-file\n")
    for option in (["--api-key-env", "MY_KEY"], ["--api-key-file", str(tmp_path / "key")]):
        assert CliRunner().invoke(serve, ["castorini/first_mistral", *option]).exit_code == 0
        expected = "from-outside" if option[1] == "MY_KEY" else "from-a-file"
        assert started["app"][1]["api_key"] == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--api-key-env", "NO_SUCH"], "--api-key-env: there is no variable 'NO_SUCH'"),
        (["--api-key-file", "/no/such"], "--api-key-file: cannot read '/no/such'"),
        (["--api-key-env", "A", "--api-key-file", "b"], "not both"),
        (["--max-concurrency", "0"], "max_concurrency is 0"),
    ],
)
def test_what_is_refused(started, options, says):
    found = CliRunner().invoke(serve, ["castorini/first_mistral", *options])
    assert isinstance(found.exception, InputError)
    assert says in str(found.exception)
    assert not started
