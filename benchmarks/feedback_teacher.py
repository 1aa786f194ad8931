"""Recall of the second search with the default reranker as the teacher, and how it was tuned.

    RERANK_PLUGINS_DATA=... python benchmarks/feedback_teacher.py --cache FOLDER [--write]
    ... --tune   # the constants of "safe", one collection left out at a time
    ... --cost   # milliseconds

The encoder that ships finds 100 passages with FAISS, the default reranker (the same encoder by
late interaction, as probabilities) scores 20 of them, or all, and each method of `refine_query`
learns from that. The cache keeps vectors and similarities, which take an hour on one core.
What stands in docs/feedback.md is written by ``--write``.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from feedback_quality import PAGE, Array, Search, interval, nearest

from rerank_plugins import Reranker, load_reranker
from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.calls import ScorePair
from rerank_plugins.evaluation import Collection, load_collection
from rerank_plugins.feedback import FaissIndex, Method, QdrantNaive, Sefr, Turn, refine_query
from rerank_plugins.presets import DEFAULT_PRESET

K, DEPTH = 100, 20
REPORTED = (("scifact", "test"), ("cranfield", "test"), ("cisi", "test"))
CHOOSING = (
    ("cranfield", "test"),
    ("cisi", "test"),
    ("scifact", "train"),
    ("dl21", "test"),
    ("covidqa", "train"),
    ("pubmedqa", "train"),
)
QUERIES = 300  # of a collection for choosing, at most
WEIGHT = 3.0  # of SEFR: the best of 0, 1 and 3
SYNTHETIC, FOUND = 250, 50  # Qdrant's training: random passages as queries, and what each finds


class Teacher:
    """The default reranker, and what it said before.

    Args:
        data: The folder of the collections.
        cache: The folder of what takes long.
    """

    def __init__(self, data: Path, cache: Path) -> None:
        self.data, self.cache = data, cache
        self.reranker: Reranker = load_reranker(threads=1, cache_folder=str(cache / "tokens"))

    def kept(self, name: str, make: Callable[[], Array]) -> Array:
        """An array of the cache, or a new one."""
        file = self.cache / f"{name}.npy"
        if not file.exists():
            np.save(file, make())
        return np.load(file)

    @cache  # noqa: B019 - it lives as long as the process
    def search(self, name: str, split: str) -> tuple[Search, Collection]:
        """The first search: every judged query with a relevant passage, or some of them."""
        train = self.data / "train" / name
        root = train if train.exists() else self.data / "beir" / name
        collection = load_collection(root, split=split)
        options = {"vectors": "pooled", "cache_folder": str(self.cache / "pooled")}
        encoder = LateInteractionBackend(DEFAULT_PRESET, threads=1, **options)
        texts = list(collection.documents.values())
        documents = self.kept(f"{name}.docs", lambda: encoder.embed(texts))
        asked = list(collection.queries.values())
        queries = self.kept(f"{name}-{split}.queries", lambda: encoder.embed(asked, "query"))
        least = 2 if name.startswith("dl") else 1
        place = {key: i for i, key in enumerate(collection.documents)}
        relevant = np.zeros((len(asked), len(texts)), dtype=bool)
        for i, key in enumerate(collection.queries):
            judged = collection.qrels[key].items()
            relevant[i, [place[d] for d, g in judged if g >= least and d in place]] = True
        rows = np.flatnonzero(relevant.any(axis=1))
        if (name, split) in CHOOSING and len(rows) > QUERIES:
            rows = np.sort(np.random.default_rng(1).permutation(rows)[:QUERIES])
        keys = list(collection.queries)
        found = nearest(documents, queries[rows])
        ids = [keys[i] for i in rows]
        search = Search(name, list(place), ids, documents, queries[rows], relevant[rows], found)
        return search, collection

    def similarities(self, name: str, split: str) -> Array:
        """Late interaction with every passage that was found, shape (queries, K)."""
        search, collection = self.search(name, split)
        texts = [collection.queries[q] for q in search.query_ids]
        return self.kept(
            f"{name}-{split}.similar",
            lambda: self._scored(name, collection, texts, search.found),
        )

    def _scored(self, name: str, collection: Collection, texts: list[str], found: Array) -> Array:
        passages, file = list(collection.documents.values()), self.cache / f"{name}.vectors"
        if not file.exists():
            self.reranker.prepare(passages, file)
        backend = load_reranker(threads=1, prepared=str(file)).backend
        return np.array(
            [
                [reply.answer for reply in backend.run([ScorePair(q, passages[j]) for j in row])]
                for q, row in zip(texts, found, strict=True)
            ]
        )

    def opinion(self, similarities: Array, depth: int, *, places: bool) -> Array:
        """The default's probabilities of the first ``depth``, NaN below."""
        default = self.reranker.strategy
        ranks = np.arange(1.0, similarities.shape[1] + 1)
        placed = default.places / (default.k + ranks) if places else default.unplaced
        odds = default.slope * similarities + default.intercept + placed
        scores = 1 / (1 + np.exp(-odds))
        scores[:, depth:] = np.nan
        return scores

    def of(self, pair: tuple[str, str]) -> tuple[Search, Collection]:
        """`search`, of a pair of collection and split."""
        return self.search(*pair)

    @cache  # noqa: B019
    def trained(self, name: str, split: str) -> QdrantNaive:
        """Qdrant's coefficients for a collection: passages of it as queries, as published."""
        search, collection = self.search(name, split)
        some = np.random.default_rng(0).permutation(len(search.ids))[:SYNTHETIC]
        queries = search.documents[some]
        found = nearest(search.documents, queries)[:, :FOUND]
        texts = [collection.documents[search.ids[i]] for i in some]
        similar = self.kept(
            f"{name}.synthetic", lambda: self._scored(name, collection, texts, found)
        )
        scores = self.opinion(similar, FOUND, places=False)
        return QdrantNaive.trained(queries, search.documents[found], scores)


def taught(search: Search, scores: Array, method: str | Mapping | Method) -> Array:
    """Recall@100 of each query's second search."""
    refined = refine_query(search.queries, search.vectors, scores, method=method)
    return search.recall(refined.vector)


def untaught(search: Search, depth: int, method: str | Mapping | Method) -> Array:
    """The same with the retriever's own scores as the teacher."""
    own = search.own.astype(float)
    own[:, depth:] = np.nan
    return taught(search, own, method)


# --- tables ------------------------------------------------------------------------------------


def tables(teacher: Teacher) -> list[str]:
    """For each depth, the change of every method and how much of it is the teacher's."""
    lines = []
    names = [name for name, _ in REPORTED]
    first = [search.recall(search.queries).mean() for search, _ in map(teacher.of, REPORTED)]
    lines += [f"Recall@{K} of the first search: "]
    lines[-1] += ", ".join(f"{n} {v:.4f}" for n, v in zip(names, first, strict=True)) + "."
    for depth in (DEPTH, K):
        made = {pair: outcomes(teacher, *pair, depth) for pair in REPORTED}
        rows = [row for row in next(iter(made.values())) if row != "first search"]
        lines += ["", f"**{depth} of {K} reranked**", ""]
        lines += ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for row in rows:
            cells = [interval(found[row] - found["first search"]) for found in made.values()]
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
        head = " | ".join(f"{name}, above no teacher" for name in names)
        lines += ["", f"| | {head} |", "|---" * (len(names) + 1) + "|"]
        for row in rows:
            control = "safe, no teacher" if row.startswith("safe") else f"{row}, no teacher"
            if control in rows and row != control:
                cells = [interval(found[row] - found[control]) for found in made.values()]
                lines.append(f"| {row} | " + " | ".join(cells) + " |")
        print("safe less each other method, at depth", depth)
        for row in rows:
            cells = [interval(found["safe"] - found[row]) for found in made.values()]
            print(f"  {row:<26}", " | ".join(cells))
    return lines


def outcomes(teacher: Teacher, name: str, split: str, depth: int) -> dict[str, Array]:
    """Recall@100 of every query, by method."""
    search, _ = teacher.search(name, split)
    similar = teacher.similarities(name, split)
    scores = teacher.opinion(similar, depth, places=False)
    naive = teacher.trained(name, split)
    print(f"{name}: qdrant-naive {naive.coefficients}", flush=True)
    methods: dict[str, str | Method] = {
        "safe": "safe",
        "bold": "bold",
        "refit": "refit",
        "first": "first",
        "qdrant-naive, trained": naive,
        f"qdrant-naive, trained, all {depth} as items": replace(naive, items=None),
        "sefr": "sefr",
    }
    found = {"first search": search.recall(search.queries)}
    found |= {row: taught(search, scores, method) for row, method in methods.items()}
    # MiniLM has three dimensions of rounding errors alone, and SEFR divides by their span.
    alive = replace(search, documents=search.documents * (search.documents.std(axis=0) > 1e-6))
    found[f"sefr, target_weight={WEIGHT:g}, without dead dimensions"] = taught(
        alive, scores, Sefr(target_weight=WEIGHT)
    )
    placed = teacher.opinion(similar, depth, places=True)
    found["safe, with places"] = taught(search, placed, "safe")
    perfect = 10 * search.labels + search.own
    perfect[:, depth:] = np.nan
    found["safe, taught by the judgements"] = taught(search, perfect, "safe")
    for row in ("safe", "bold", "refit", "first", "sefr"):
        found[f"{row}, no teacher"] = untaught(search, depth, methods[row])
    return found


# --- tuning ------------------------------------------------------------------------------------

DEGREES = (15.0, 20.0, 25.0, 30.0)
SMOOTHING = (3.0, 10.0, 30.0, 100.0)
DOUBT = (None, 0.0, 1.0, 2.0)
LOSS = 0.005  # what a random teacher may take, on average over the collections


def grid(search: Search, scores: Array) -> Array:
    """Changes of Recall@100, of shape (degrees, smoothing, doubt, queries)."""
    found = np.zeros((len(DEGREES), len(SMOOTHING), len(DOUBT), len(search.queries)))
    given = (search.queries, search.vectors, scores)
    trusts = [refine_query(*given, method=Turn(doubt=doubt)).trust for doubt in DOUBT]
    before = search.queries @ search.documents.T
    for j, smoothing in enumerate(SMOOTHING):
        turned = refine_query(*given, method=Turn(degrees=90, smoothing=smoothing, doubt=None))
        stays = np.array([bool(reason) for reason in turned.skipped])
        aside = turned.vector @ search.documents.T  # at 90 degrees only the new part is left
        for (i, degrees), (k, trust) in itertools.product(enumerate(DEGREES), enumerate(trusts)):
            angle = np.where(stays, 0, np.radians(degrees * trust))[:, None].astype(np.float32)
            level = np.cos(angle) * before + np.sin(angle) * aside
            places = np.argpartition(-level, K, axis=1)[:, :K]
            hits = np.take_along_axis(search.relevant, places, axis=1).sum(axis=1)
            found[i, j, k] = hits / search.relevant.sum(axis=1)
    return found - search.recall(search.queries)


def tune(teacher: Teacher) -> list[str]:
    """Choose the constants of "safe" on all collections but one, and measure them on that one."""
    gains, losses = {}, {}
    for name, split in CHOOSING:
        search, _ = teacher.search(name, split)
        similar = teacher.similarities(name, split)
        asked = [teacher.opinion(similar, depth, places=False) for depth in (DEPTH, K)]
        gains[name] = [grid(search, scores) for scores in asked]
        noise = np.random.default_rng(0).standard_normal(similar.shape)
        losses[name] = grid(search, noise)
        print(f"{name} is done", flush=True)
    lines = [
        f"| left out | chosen on the others | {DEPTH} of {K}: chosen | default | all {K}: chosen "
        "| default | random teacher: chosen | default |",
        "|---" * 8 + "|",
    ]
    default = (DEGREES.index(25.0), SMOOTHING.index(10.0), DOUBT.index(1.0))
    for name in gains:
        others = [other for other in gains if other != name]
        best = chosen([gains[o] for o in others], [losses[o] for o in others])
        cells = [
            interval(table[place])
            for table in (*gains[name], losses[name])
            for place in (best, default)
        ]
        lines.append(f"| {name} | {constants(best)} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    best = chosen(list(gains.values()), list(losses.values()))
    print("on all:", constants(best))
    return lines


def constants(place: tuple[int, ...]) -> str:
    """The constants of a place in a grid: degrees, smoothing and doubt."""
    values = (axis[i] for axis, i in zip((DEGREES, SMOOTHING, DOUBT), place, strict=True))
    return ", ".join("none" if value is None else f"{value:g}" for value in values)


def chosen(gains: list[list[Array]], losses: list[Array]) -> tuple[int, ...]:
    """The constants with the highest mean gain whose loss with a random teacher is small."""
    gain = np.mean([table.mean(axis=-1) for tables in gains for table in tables], axis=0)
    loss = np.mean([table.mean(axis=-1) for table in losses], axis=0)
    allowed = np.where(loss >= -LOSS, gain, -np.inf)
    return tuple(int(i) for i in np.unravel_index(allowed.argmax(), allowed.shape))


# --- cost --------------------------------------------------------------------------------------


def costs(teacher: Teacher, name: str = "cranfield", split: str = "test") -> list[str]:
    """Milliseconds of processor time a query, one query at a time."""
    search, collection = teacher.search(name, split)
    scores = teacher.opinion(teacher.similarities(name, split), DEPTH, places=False)
    passages, vectors = list(collection.documents.values()), search.vectors
    index = FaissIndex.build(search.documents, ids=search.ids, texts=passages)
    file = str(teacher.cache / f"{name}.vectors")
    backend = load_reranker(threads=1, prepared=file).backend
    asked = [collection.queries[q] for q in search.query_ids]

    def rerank(i: int, depth: int) -> None:
        backend.run([ScorePair(asked[i], passages[j]) for j in search.found[i, :depth]])

    jobs = {
        f"search among {len(passages):,}": lambda i: index.search(search.queries[i], K),
        f"rerank {DEPTH}, prepared": lambda i: rerank(i, DEPTH),
        f"rerank {K}, prepared": lambda i: rerank(i, K),
    }
    for method in ("safe", "bold", "refit", "first", "qdrant-naive", "sefr"):
        jobs[f"refine, {method}"] = lambda i, method=method: refine_query(
            search.queries[i], vectors[i], scores[i], method=method
        )
    lines = ["| | ms a query |", "|---|---|"]
    for job, run in jobs.items():
        spent = []
        for i in range(41):
            start = time.process_time()
            run(i)
            spent.append(time.process_time() - start)
        lines.append(f"| {job} | {1e3 * np.median(spent[1:]):.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="for vectors and similarities")
    parser.add_argument("--tune", action="store_true", help="choose the constants, nothing else")
    parser.add_argument("--cost", action="store_true", help="milliseconds, nothing else")
    parser.add_argument("--write", action="store_true", help="into docs/feedback.md")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(Path(os.environ["RERANK_PLUGINS_DATA"]), given.cache)
    part = "tuned" if given.tune else "cost" if given.cost else "taught"
    lines = {"tuned": tune, "cost": costs, "taught": tables}[part](teacher)
    print("\n".join(lines))
    if given.write:
        start, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(start)
        after = rest.split(end)[1]
        PAGE.write_text(f"{before}{start}\n\n" + "\n".join(lines) + f"\n\n{end}{after}", "utf-8")


if __name__ == "__main__":
    main()
