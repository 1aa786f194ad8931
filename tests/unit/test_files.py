"""Files: read line by line, written whole or not at all, and refused where they are not ours."""

import gzip
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from rerank_plugins import InputError
from rerank_plugins._files import (
    DRAFT,
    Stamp,
    digest,
    lines_of,
    replacing,
    rows_of,
    sync_files,
    write_lines,
)

STAMP = Stamp("rerank-plugins test", 3)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, durable):
    path = tmp_path / "x"
    path.write_text("old")
    with replacing(path, durable=durable) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        assert len(names(tmp_path)) == 2
        assert names(tmp_path)[1].endswith(DRAFT)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_block_keeps_the_old_file_and_leaves_no_draft(tmp_path, error):
    path = tmp_path / "x"
    path.write_text("old")
    for name in ("x", "y"):
        with pytest.raises(error), replacing(tmp_path / name) as file:
            _fail_halfway(file, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def _fail_halfway(file, error):
    file.write(b"half of the n")
    file.flush()
    raise error


@pytest.mark.parametrize("kind", ["file", "link", "broken link"])
def test_a_draft_is_never_written_over_something_or_through_a_link(tmp_path, monkeypatch, kind):
    known = uuid.UUID(int=7)
    monkeypatch.setattr(uuid, "uuid4", lambda: known)
    draft = tmp_path / f"x.{known.hex}{DRAFT}"
    other = tmp_path / "other"
    if kind != "broken link":
        other.write_text("of someone else")
    if kind == "file":
        draft.write_text("of someone else")
    else:
        draft.symlink_to(other)
    before = names(tmp_path)
    with pytest.raises(InputError, match="cannot write") as caught, replacing(tmp_path / "x"):
        raise AssertionError
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert names(tmp_path) == before
    assert kind == "broken link" or draft.read_text() == "of someone else"


@pytest.mark.parametrize("path", ["no/such/folder/x", "folder"])
def test_a_file_that_cannot_be_written(tmp_path, path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write") as caught, replacing(tmp_path / path):
        raise AssertionError
    assert isinstance(caught.value.__cause__, OSError)
    assert names(tmp_path) == ["folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_is_written_and_not_replaced(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_lines(path, ["one", "two"])
    reader.join(timeout=10)
    assert read == [b"one\ntwo\n"]
    assert path.is_fifo()


@pytest.mark.skipif(not os.path.islink("/dev/stdout"), reason="needs /dev/stdout")
def test_standard_output_is_written_and_not_replaced(tmp_path):
    code = (
        "from pathlib import Path\nfrom rerank_plugins._files import write_lines\n"
        "write_lines(Path('/dev/stdout'), ['one'])"
    )
    with (tmp_path / "out").open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out").read_text() == "one\n"
    assert os.path.islink("/dev/stdout")


def test_lines_may_come_from_the_file_that_they_replace(tmp_path):
    path = tmp_path / "x"
    assert write_lines(path, ["a", "b"]) == 2
    assert write_lines(path, (line.strip().upper() for _, line in lines_of(path))) == 2
    assert path.read_text() == "A\nB\n"


def test_gzip_bytes_depend_on_the_text_alone(tmp_path, monkeypatch):
    write_lines(tmp_path / "a.gz", ["é", "b"])
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_lines(tmp_path / "b.gz", ["é", "b"])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == "é\nb\n".encode()
    assert digest(tmp_path / "a.gz") == digest(tmp_path / "b.gz")


def test_blank_lines_are_left_out_and_numbers_stay(tmp_path):
    (tmp_path / "x").write_text("a\n\n  \nb")
    assert list(lines_of(tmp_path / "x")) == [(1, "a\n"), (4, "b")]
    with gzip.open(tmp_path / "y.gz", "wt") as file:
        file.write('\n{"a": 1}\n')
    assert list(rows_of(tmp_path / "y")) == [(2, {"a": 1})]  # only y.gz exists


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x", None, "there is no file .*x', plain or gzipped"),
        ("x", b'{"a": 1}\nnothing\n', "line 2 of .*x is not JSON"),
        ("x", b"[1]\n", "line 1 of .*x is not a JSON object"),
        ("x", b"[" * 100_000, "line 1 of .*x is not JSON"),
        ("x", b'{}\n"\xff"\n', "x is not UTF-8 after line"),
        ("x.gz", b"not gzip", "x.gz is a damaged gzip file"),
        ("x.gz", gzip.compress(b"{}\n", mtime=0)[:-6], "x.gz is a damaged gzip file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        list(rows_of(tmp_path / "x"))


def test_a_stamped_file_is_read_as_it_was_written(tmp_path):
    STAMP.write(tmp_path / "x", {"name": "é", "sizes": [1, 2]})
    assert STAMP.read(tmp_path / "x", name=str, sizes=list) == {"name": "é", "sizes": [1, 2]}
    assert (tmp_path / "x").read_text("utf-8") == (
        '{\n "format": "rerank-plugins test",\n "version": 3,\n "name": "é",\n'
        ' "sizes": [\n  1,\n  2\n ]\n}\n'
    )


OURS = {"format": "rerank-plugins test", "version": 3, "name": "x"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read .*x"),
        ("{", "x' is damaged"),
        ("[" * 100_000, "x' is damaged"),
        ("[]", "x' is not a file of the format 'rerank-plugins test'"),
        (json.dumps({**OURS, "format": "y"}), "x' is not a file of the format"),
        (json.dumps({"name": "x"}), "x' is not a file of the format"),
        (json.dumps({**OURS, "version": 4}), "x' is of version 4, expected 3.*make it again"),
        (json.dumps({**OURS, "name": 3}), "x' is damaged: it has no name, or a wrong one"),
    ],
)
def test_a_stamped_file_that_is_refused(tmp_path, text, says):
    if text is not None:
        (tmp_path / "x").write_text(text)
    with pytest.raises(InputError, match=says):
        STAMP.read(tmp_path / "x", name=str)


def test_a_digest_is_the_sha_256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert digest(tmp_path / "x") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_every_file_of_a_folder_is_synced(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    sync_files(tmp_path)
    assert sorted(synced) == sorted(path.stat().st_ino for path in tmp_path.iterdir())


def test_the_permissions_of_the_old_file_stay(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_lines(path, ["new"])
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new\n", 0o600)


def test_a_link_to_a_file_stays_a_link(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_lines(link, ["new"])
    assert (link.is_symlink(), target.read_text()) == (True, "new\n")


@pytest.mark.parametrize("name", ["", "."])
def test_a_file_without_a_name_is_refused(name):
    with pytest.raises(InputError, match="it is a folder"):
        write_lines(Path(name), ["new"])


def test_drafts_of_killed_processes_are_removed_a_day_later(tmp_path):
    elsewhere = tmp_path / "letter.txt"
    elsewhere.write_text("dear")
    names_of = {
        "old": f"[x].{'0' * 32}{DRAFT}",
        "link": f"[x].{'a' * 32}{DRAFT}",
        "new": f"[x].{'f' * 32}{DRAFT}",
        "other": f"x.{'0' * 32}{DRAFT}",
        "mine": f"[x].my-notes{DRAFT}",
    }
    two_days_ago = time.time() - 2 * 24 * 3600
    for kind, name in names_of.items():
        path = tmp_path / name
        if kind == "link":
            path.symlink_to(elsewhere)
        else:
            path.write_text("half")
        if kind != "new":
            os.utime(path, (two_days_ago, two_days_ago), follow_symlinks=False)
    with replacing(tmp_path / "[x]", durable=False) as file:
        file.write(b"whole")
    assert len(names(tmp_path)) == 7  # quick writes look for nothing
    with replacing(tmp_path / "[x]") as file:
        file.write(b"whole")
    stay = [names_of[kind] for kind in ("new", "other", "mine")]
    assert names(tmp_path) == sorted(["[x]", "letter.txt", *stay])
    assert elsewhere.read_text() == "dear"


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path, packed):
    path = tmp_path / ("x.gz" if packed else "x")
    content = b"\xef\xbb\xbfa 1\nb\xef\xbb\xbf 2\n"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert list(lines_of(path)) == [(1, "a 1\n"), (2, "b\ufeff 2\n")]


def test_names_and_lines_that_no_file_has(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        next(lines_of(Path("a" * 5000)))
    with pytest.raises(InputError, match="the name has a null character"):
        write_lines(tmp_path / "a\0b", ["x"])
    (tmp_path / "x").write_text("old")
    with pytest.raises(InputError, match=r"line 2 of .* is not valid Unicode"):
        write_lines(tmp_path / "x", ["a", "\ud800"])
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]
