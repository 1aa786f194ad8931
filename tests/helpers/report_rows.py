"""A small collection whose texts and names try to run as code, and rankers that differ on it."""

from rerank_plugins import Usage
from rerank_plugins.evaluation import Collection, measured

HOSTILE = "</td><script>document.title='taken'</script><img src=x onerror=\"document.title='x'\">"


def hostile_collection(synthetic=""):
    documents = {f"d{j}": f"text {j} $x^2$ {HOSTILE}" for j in range(30)}
    queries = {f"q{i}": f"query {i} {HOSTILE}" for i in range(8)}
    return Collection(
        documents=documents,
        queries=queries,
        qrels={q: {"d3": 2, "d5": 1} for q in queries},
        synthetic=synthetic,
    )


def hostile_rows(collection):
    """A first stage of unknown cost, and a better ranker with a hostile name."""
    ids = list(collection.documents)
    first = dict.fromkeys(collection.queries, ids[:20])
    better = {q: ids[i : i + 4] + ids[:i] + ids[i + 4 : 20] for i, q in enumerate(first)}
    usage = Usage(calls=80, prompt_tokens=9000, generated_tokens=8, seconds=12.5)
    measures = ("nDCG@10", "R@100")
    return [
        measured("first", first, collection.qrels, measures),
        measured(f"better {HOSTILE}", better, collection.qrels, measures, usage=usage),
    ]
