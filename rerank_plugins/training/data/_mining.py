"""Hard negatives by a teacher's scores: those it scores nearly as high as what is relevant.

From the paper: a teacher scores what a retriever found; a candidate that scores above the positive
less a margin is taken for a relevant document without a judgement, and dropped; negatives come from
the best of the others; the scores are kept as soft labels. Its teacher is a multimodal language
model that says yes or no, its candidates are the top 50, its sampling goes through the others in
cycles.

Our own: any reranker is the teacher, texts are ranked, and negatives are taken from the top or
drawn in proportion to ``exp(score / temperature)``, without replacement. A list may have several
relevant documents; then the margin counts from the one with the lowest score. The value of the
paper's margin was not verified, so there is no default.
"""

import math
import random
from collections.abc import Iterator, Sequence

from ..._checks import at_least, positive
from ...evaluation import Collection, Run, Scores, check_run
from ._draws import drawn, permuted, source
from ._judgements import check_sizes, in_order, listed, relevant_of
from ._lists import OnSkip, TrainingList, informative, skip


def mined_lists(
    collection: Collection,
    run: Run,
    scores: Scores,
    *,
    size: int,
    margin: float,
    seed: int,
    relevant: int = 1,
    depth: int = 50,
    temperature: float | None = None,
    shuffle: bool = True,
    on_skip: OnSkip | None = None,
) -> Iterator[TrainingList]:
    """Lists of relevant documents and of the hardest negatives that a teacher finds for them.

    Labels are grades, as those of `judged_lists`; ``teacher`` has the scores. A query's list
    depends on the seed, the query, its documents and their scores alone.

    Args:
        collection: Texts and judgements.
        run: Document ids by query id, from a first stage. Its queries get lists, in its order.
        scores: The teacher's, of all documents that count: `teacher_scores` of the run that
            `with_relevant` makes, or `load_scores` of its ranking.
        size: Passages of a list, at least 2; fewer where there are too few negatives.
        margin: How far a negative must be below the list's lowest relevant document, in the
            scores' unit, at least 0. One that is exactly so far below is kept.
        seed: The seed of all draws.
        relevant: The largest number of relevant documents in a list, at least 1 and below
            ``size``. Where more have a score, they are drawn.
        depth: Negatives come from the first ``depth`` of the run's documents.
        temperature: Draw negatives in proportion to ``exp(score / temperature)``; the ones with
            the highest scores when None.
        shuffle: As for `judged_lists`.
        on_skip: Called with a sentence for each query that gives no list; without it, such a query
            is an error.

    Raises:
        InputError: An argument is out of range, the run is of another collection, scores are
            missing, or a query gives no list and there is no ``on_skip``.

    References:
        Gu et al., UniME-V2: MLLM-as-a-Judge for Universal Multimodal Embedding Learning,
        arXiv:2510.13515, 2025.

    Examples:
        >>> documents = {name: f"text {name}" for name in "abcd"}
        >>> judged = Collection(documents=documents, queries={"q": "flea"}, qrels={"q": {"a": 1}})
        >>> scores = {"q": {"a": 0.9, "b": 0.88, "c": 0.5, "d": 0.1}}
        >>> [one] = mined_lists(judged, {"q": list("abcd")}, scores, size=2, margin=0.1, seed=1)
        >>> sorted(one.ids)
        ['a', 'c']
    """
    check_sizes(size, relevant)
    at_least(0.0, margin=margin)
    at_least(1, depth=depth)
    positive(none=True, temperature=temperature)
    check_run(run, collection)
    for query, found in run.items():
        known = scores.get(query, {})
        chance = source(seed, query)
        judged = set(relevant_of(collection, query))
        positives = drawn([d for d in sorted(judged) if d in known], relevant, chance)
        if not positives:
            skip(f"the query {query!r} has no relevant document with a score", on_skip)
            continue
        others = [document for document in found[:depth] if document not in judged]
        if unscored := [document for document in others if document not in known]:
            skip(
                f"the teacher has no score for {len(unscored)} documents of the query {query!r}, "
                f"among them {unscored[0]!r}",
                on_skip,
            )
            continue
        highest = min(known[document] for document in positives) - margin
        hard = [document for document in others if known[document] <= highest]
        values = [known[document] for document in hard]
        best = _hardest(values, size - len(positives), temperature, chance)
        chosen = positives + [hard[i] for i in best]
        order = permuted(chosen, chance) if shuffle else in_order(chosen, found)
        made = listed(collection, query, order, teacher=known)
        if informative(made, f"the list of the query {query!r}", on_skip):
            yield made


def _hardest(
    scores: Sequence[float], count: int, temperature: float | None, chance: random.Random
) -> list[int]:
    """Positions of the highest scores, or of scores drawn by their softmax without replacement.

    The highest of score / temperature plus Gumbel noise are such a draw (Kool et al.,
    arXiv:1903.06059, 2019). The noise is minus the logarithm of an exponential variable.
    """
    top = max(scores, default=0.0)
    keys = list(scores)
    if temperature is not None:
        # random() may be 0, whose logarithm does not exist
        waits = [max(-math.log1p(-chance.random()), 5e-324) for _ in scores]
        keys = [
            (score - top) / temperature - math.log(wait)
            for score, wait in zip(scores, waits, strict=True)
        ]
    return sorted(range(len(scores)), key=lambda i: (-keys[i], -scores[i]))[:count]
