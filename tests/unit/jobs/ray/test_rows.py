"""The input of a batch job, without a cluster."""

import json

import pytest

from rerank_plugins import InputError
from rerank_plugins.jobs.ray import _rows as requests
from rerank_plugins.jobs.ray._rows import Source


def test_every_line_of_a_file_belongs_to_one_range(tmp_path, monkeypatch):
    lines = [json.dumps({"query_id": i, "query": "x" * (i % 7)}) for i in range(50)]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines) + "\n\n")
    for size in (1, 7, 30, 1000, 10_000):
        monkeypatch.setattr(requests, "RANGE_BYTES", size)
        read = [
            r["line"].strip()
            for start in range(0, path.stat().st_size, size)
            for r in requests._lines_of({"path": str(path), "start": start})
        ]
        assert read == lines


def test_files_that_are_no_input(tmp_path):
    (tmp_path / "a.csv").touch()
    for path in (tmp_path / "absent.jsonl", tmp_path / "a.csv", tmp_path):
        with pytest.raises(InputError, match=r"Give a \.jsonl or \.parquet"):
            Source(path)
