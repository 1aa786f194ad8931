"""``rerank-plugins batch``: its options become those of the job."""

import json

import pytest
from click.testing import CliRunner

from rerank_plugins.cli._batch import batch

ray = pytest.importorskip("rerank_plugins.jobs.ray")


def test_options_become_the_job_s(tmp_path, monkeypatch):
    ran, written = {}, []

    def rank_dataset(source, spec, output, **options):
        ran.update(options, source=source, spec=spec, output=output)
        return ray.DatasetCounts(ranked=3, skipped=2, failed=1)

    monkeypatch.setattr(ray, "rank_dataset", rank_dataset)
    monkeypatch.setattr(ray, "write_run", lambda *given: written.append(given))
    spec = {"strategy": "pair-score", "backend": "constant"}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    (tmp_path / "in.jsonl").touch()
    source, out = str(tmp_path / "in.jsonl"), str(tmp_path / "out")
    given = [
        source,
        out,
        "--reranker",
        str(tmp_path / "spec.json"),
        "--trec",
        "r.trec",
        "--top-k",
        "5",
    ]
    found = CliRunner().invoke(batch, given)
    assert found.exit_code == 0, found.output
    assert found.stdout == "ranked 3, skipped as finished 2, failed 1\n"
    assert found.stderr == f"{out} has an error in each failed query's row\n"
    said = CliRunner().invoke(batch, [*given[:4], "--top-k", "5", "--json"]).stdout
    assert json.loads(said) == {"ranked": 3, "skipped": 2, "failed": 1}
    assert (ran.pop("source"), ran.pop("spec"), ran.pop("output")) == (source, spec, out)
    assert ran == {
        "top_k": 5,
        "actors": 2,
        "batch_size": 16,
        "part_size": 1000,
        "cpus_per_actor": 0.5,
        "gpus_per_actor": 0.0,
        "retry_failed": False,
    }
    assert written == [(out, "r.trec")]


def test_any_name_of_a_reranker(tmp_path, monkeypatch):
    """The workers get a spec; the option's old name still works."""
    specs = []

    def rank_dataset(source, spec, output, **options):
        specs.append(spec)
        return ray.DatasetCounts(ranked=0, skipped=0, failed=0)

    monkeypatch.setattr(ray, "rank_dataset", rank_dataset)
    (tmp_path / "in.jsonl").touch()
    (tmp_path / "spec.json").write_text('{"model": "first_mistral", "dtype": "float16"}')
    for option, name in (("--reranker", "first_mistral"), ("--spec", str(tmp_path / "spec.json"))):
        given = [str(tmp_path / "in.jsonl"), str(tmp_path / "out"), option, name]
        assert CliRunner().invoke(batch, given).exit_code == 0
    assert [spec["backend"]["dtype"] for spec in specs] == ["auto", "float16"]
    assert {spec["backend"]["model"] for spec in specs} == {"castorini/first_mistral"}
