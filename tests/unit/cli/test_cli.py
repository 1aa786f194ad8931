"""``rerank-plugins`` itself: its commands, and how mistakes end."""

import errno
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from rerank_plugins import cli
from rerank_plugins.cli import build, main
from rerank_plugins.errors import InputError


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "rerank_plugins.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands():
    some = ["batch", "bench", "calibrate", "compare", "evaluate", "explain", "export", "feedback"]
    others = ["heads", "judge", "models", "prepare", "rank", "serve", "train", "tune"]
    assert sorted(build().commands) == some + others
    for name, found in build().commands.items():
        assert found.name == name
        assert found.help


@pytest.mark.parametrize("name", build().commands)
def test_every_option_is_explained(name):
    options = [p for p in build().commands[name].params if isinstance(p, click.Option)]
    assert options
    assert [option.name for option in options if not option.help] == []


def test_the_version():
    found = CliRunner().invoke(build(), ["--version"])
    assert found.exit_code == 0
    assert "version" in found.output


def failing(error):
    def build():
        def command():
            raise error

        return command

    return build


def test_an_error_of_the_library_is_one_line(monkeypatch):
    monkeypatch.setattr(cli, "build", failing(InputError("top_k is 0", hint="Give 1.")))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == "rerank-plugins: top_k is 0. Give 1."


def test_a_full_disk_is_one_line_and_other_system_errors_are_not_hidden(monkeypatch):
    full, other = OSError(errno.ENOSPC, "No space left"), OSError(errno.EPERM, "Not permitted")
    monkeypatch.setattr(cli, "build", failing(full))
    with pytest.raises(SystemExit, match=r"^rerank-plugins: cannot write the output: .*No space"):
        main()
    monkeypatch.setattr(cli, "build", failing(other))
    with pytest.raises(OSError, match="Not permitted"):
        main()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models", "no/such"], "there is no preset 'no/such'"),
        (["models", "--show-prompt"], "needs the NAME"),
        (["modles"], "No such command"),
    ],
)
def test_mistakes_end_with_a_sentence_and_no_traceback(arguments, says):
    found = command(*arguments)
    assert found.returncode != 0
    assert says in found.stderr
    assert "Traceback" not in found.stderr


def test_without_click_the_extra_is_named():
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from rerank_plugins.cli import main; sys.argv = ['x', 'models']; main()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert "rerank-plugins[cli]" in found.stderr
