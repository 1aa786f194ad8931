"""Make lists of real questions with hard negatives and a fused teacher's scores.

python models/recipes/questions_data.py DATA --out lists
python models/recipes/questions_data.py DATA --out lists --miner tuned   # mined by a tuned model
python models/recipes/questions_data.py DATA --out short --words 80      # for windows of ten

DATA has the folders train/covidqa, train/pubmedqa and beir/scifact in BEIR's layout. Titles of
SciFact's abstracts are questions too; their passages stand without titles. A list has a question's
relevant passages and the hardest of BM25's first fifty others by the teacher: the
miner's similarity, BM25 and the judgement, added up. Questions are held out by article.
"""

import argparse
import statistics
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from candidates import BM25, first
from commands import execute
from licences import LICENCES, write_licensed
from scifact import abstracts
from text import chunks, first_words, sentences

from rerank_plugins import Reranker, load_reranker
from rerank_plugins.evaluation import Collection, load_collection
from rerank_plugins.training.data import TrainingList, mined_lists

SOURCES = {
    "covidqa": "train/covidqa",
    "pubmedqa": "train/pubmedqa",
    "scifact": "beir/scifact",
    "titles": "beir/scifact",
}
TITLES = 700  # of SciFact's abstracts, drawn by chance
LEAST_WORDS = 40  # of an abstract whose title is asked for
DEPTH = 50  # of BM25, where negatives come from
RELEVANT = 2  # passages of a list at most
COSINES = 30.0  # a similarity's factor in the teacher: lists then spread as logits do
WORDS = 0.5  # BM25's, in units of its spread within the list
JUDGED = 3.0  # what a judgement adds
NOISE = 2.0  # negatives are drawn by exp(teacher / NOISE)
HELD_OUT = 10  # one question of so many, by its article
VALIDATED = 60  # of those of a source: validation is repeated


def main() -> None:
    parser = arguments(__doc__, seed=17)
    parser.add_argument("--size", type=int, default=10, help="passages of a list")
    parser.add_argument("--words", type=int, help="show the best part of so many words of each")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    miner = load_reranker(given.miner, strategy="pair-score", cache_folder=given.cache)
    train, held_out = [], []
    for source in given.sources:
        kept: list[TrainingList] = []
        for one in lists_of(source, given, miner):
            (kept if is_held_out(source, one) else train).append((one, LICENCES[source]))
        held_out += kept[:VALIDATED]
        print(f"{source}: {len(train)} lists so far, {len(kept)} held out", flush=True)
    Random(given.seed).shuffle(train)
    write_licensed(train, given.out / "questions.train.jsonl.gz")
    if held_out:
        write_licensed(held_out, given.out / "questions.val.jsonl.gz")


def arguments(
    about: str, *, seed: int, sources: Sequence[str] = tuple(SOURCES)
) -> argparse.ArgumentParser:
    """A parser with the arguments that every command has which makes lists of these sources."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with train/ and beir/")
    parser.add_argument("--out", type=Path, required=True, help="where the lists are written")
    parser.add_argument("--miner", default="rerank-plugins/minilm-late-interaction")
    parser.add_argument("--sources", nargs="+", choices=sources, default=list(sources))
    parser.add_argument("--queries", type=int, help="of each source at most")
    parser.add_argument("--cache", help="folder that keeps passages' vectors for the next time")
    parser.add_argument("--seed", type=int, default=seed)
    return parser


def lists_of(source: str, given: argparse.Namespace, miner: Reranker) -> Iterator[TrainingList]:
    """A list for each question of a source."""
    folder = given.data / SOURCES[source]
    if source == "titles":
        collection = titles(folder, Random(given.seed))
    else:
        collection = load_collection(folder, split="train")
    run, scores = teacher(source, collection, miner, given.queries)
    found = mined_lists(
        collection,
        run,
        scores,
        size=given.size,
        margin=0.0,
        seed=given.seed,
        relevant=RELEVANT,
        depth=DEPTH,
        temperature=NOISE,
        on_skip=print,
    )
    for one in found:
        yield best_parts(one, given.words, miner) if given.words else one


def titles(folder: Path, chance: Random) -> Collection:
    """Some titles of SciFact's abstracts as questions, each about its abstract's text."""
    texts = {one.key: one for one in abstracts(folder)}
    long = [key for key, one in texts.items() if len(one.text.split()) > LEAST_WORDS]
    asked = chance.sample(long, TITLES)
    return Collection(
        documents={key: one.text for key, one in texts.items()},
        queries={f"title-{key}": texts[key].title for key in asked},
        qrels={f"title-{key}": {key: 1} for key in asked},
    )


def teacher(
    source: str, collection: Collection, miner: Reranker, queries: int | None
) -> tuple[dict[str, list[str]], dict[str, dict[str, float]]]:
    """BM25's first passages of each question, and the teacher's scores of them and the relevant."""
    keys = list(collection.documents)
    bm25 = BM25([str(text) for text in collection.documents.values()])
    at = {key: i for i, key in enumerate(keys)}
    run, scores = {}, {}
    for query in list(collection.qrels)[:queries]:
        relevant = [d for d, grade in collection.qrels[query].items() if grade > 0 and d in at]
        lexical = bm25.scores(collection.queries[query])
        others = [keys[i] for i in first(lexical, DEPTH) if keys[i] not in relevant]
        others = [d for d in others if not (same_article(source, d, relevant))]
        shown = [*relevant, *others]
        fused = teacher_scores(
            similarities(
                miner, collection.queries[query], [collection.documents[d] for d in shown]
            ),
            [float(lexical[at[d]]) for d in shown],
            [d in relevant for d in shown],
        )
        run[query], scores[query] = others, dict(zip(shown, fused, strict=True))
    return run, scores


def similarities(miner: Reranker, query: str, texts: Sequence[str]) -> list[float]:
    """The miner's score of each text."""
    ranking = miner.rank(query, texts)
    known: Mapping[int, float] = dict(zip(ranking.order, ranking.scores, strict=True))
    return [known[i] for i in range(len(texts))]


def teacher_scores(
    cosines: Sequence[float], lexical: Sequence[float], judged: Sequence[bool]
) -> list[float]:
    """The fused teacher's score of each passage of a list."""
    return [
        round(COSINES * cosine + WORDS * word + JUDGED * relevant, 4)
        for cosine, word, relevant in zip(cosines, spread(lexical), judged, strict=True)
    ]


def spread(values: Sequence[float]) -> list[float]:
    """Values in units of their standard deviation."""
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    return [(value - mean) / (deviation or 1.0) for value in values]


def same_article(source: str, document: str, relevant: Sequence[str]) -> bool:
    """Whether a passage of COVID-QA is of a relevant one's article: it may answer too."""
    return source == "covidqa" and article(document) in map(article, relevant)


def article(document: str) -> str:
    """The article of a passage of COVID-QA, whose ids are ``article-number``."""
    return document.partition("-")[0]


def is_held_out(source: str, one: TrainingList) -> bool:
    """Whether a question is held out: all questions of an article are, or none is."""
    key = one.query_id.rpartition("-")[2] if source == "covidqa" else one.query_id
    return zlib.crc32(key.encode()) % HELD_OUT == 0


def best_parts(one: TrainingList, words: int, miner: Reranker) -> TrainingList:
    """The list with the part of each passage that is most like the query, of ``words`` at most."""
    shown = []
    for passage in one.passages:
        parts = chunks(sentences(str(passage)), words, Random(one.query_id))
        texts = [first_words(" ".join(part), words) for part in parts] or [
            first_words(str(passage), words)
        ]
        shown.append(texts[miner.rank(one.query, texts).order[0]])
    return TrainingList(one.query, tuple(shown), one.labels, one.query_id, one.ids, one.teacher)


if __name__ == "__main__":
    execute(main)
