"""Graded lists from judgements: relevant documents among negatives that a retriever found."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

from ..._checks import at_least, one_of
from ...errors import InputError
from ...evaluation import Collection, Run, check_run
from ._draws import drawn, permuted, source
from ._lists import OnSkip, TrainingList, informative, skip

Positives = Literal["retrieved", "judged"]
Negatives = Literal["run", "judged", "collection"]


def judged_lists(
    collection: Collection,
    run: Run,
    *,
    size: int,
    seed: int,
    relevant: int | None = None,
    positives: Positives = "retrieved",
    negatives: Negatives = "run",
    ranks: tuple[int, int] = (1, 100),
    per_query: int = 1,
    shuffle: bool = True,
    on_skip: OnSkip | None = None,
) -> Iterator[TrainingList]:
    """Lists of judged relevant documents and of sampled ones that are not, for a run's queries.

    Labels are the grades of the judgements. A document without a judgement has grade 0, and so has
    one whose grade is negative (junk). Where few documents were judged, some of the sampled ones
    are relevant all the same; ``negatives="judged"`` and `mined_lists` avoid that.
    A judged document that the collection lacks is left out.

    A query's lists depend on the seed, the query and its documents alone: not on the other queries
    of the run, and not on how many lists are drawn after them.

    Args:
        collection: Texts and judgements.
        run: Document ids by query id, from a first stage. Its queries get lists, in its order.
        size: Passages of a list, at least 2; fewer where there are too few negatives.
        seed: The seed of all draws.
        relevant: The largest number of relevant documents in a list, at least 1 and below
            ``size``; half of ``size`` when None. Where there are more, they are drawn.
        positives: Draw them from the relevant documents that the run found, or from all judged
            ones. When it serves, the model sees what a first stage finds.
        negatives: Draw them from the run, from the documents that were judged not relevant, or
            from the whole collection, which makes easy ones.
        ranks: The first and the last rank of the run that its negatives come from.
        per_query: Lists of each query, each with its own draws.
        shuffle: Whether the passages are in random order. Otherwise they are in the run's order,
            those that it did not find last.
        on_skip: Called with a sentence for each query that gives no list; without it, such a query
            is an error.

    Raises:
        InputError: An argument is out of range, the run names documents or queries that the
            collection lacks, a query gives no list and there is no ``on_skip``, or no query
            gives one.

    Examples:
        >>> documents = {name: f"text {name}" for name in "abcdef"}
        >>> judged = Collection(documents=documents, queries={"q": "flea"}, qrels={"q": {"c": 2}})
        >>> [one] = judged_lists(judged, {"q": list("abcdef")}, size=3, seed=1)
        >>> len(one), sorted(one.labels), one.labels[one.ids.index("c")]
        (3, [0.0, 0.0, 2.0], 2.0)
    """
    most = max(1, size // 2) if relevant is None else relevant
    check_sizes(size, most)
    at_least(1, per_query=per_query)
    if not 1 <= ranks[0] <= ranks[1]:
        raise InputError(f"ranks is {ranks}, expected the first and the last, from 1")
    one_of("positives", positives, get_args(Positives))
    one_of("negatives", negatives, get_args(Negatives))
    check_run(run, collection)
    everything = sorted(collection.documents) if negatives == "collection" else []
    found = False
    for query, ids in run.items():
        known, retrieved = relevant_of(collection, query), set(ids)
        allowed = [d for d in known if positives == "judged" or d in retrieved]
        judged = [d for d in sorted(collection.qrels.get(query, {})) if d in collection.documents]
        near = judged if negatives == "judged" else ids[ranks[0] - 1 : ranks[1]]
        pool = [d for d in near if d not in known]
        for number in range(per_query):
            chance = source(seed, query, number)
            chosen = drawn(allowed, most, chance)
            if not chosen:
                which = " that the run found" if positives == "retrieved" else " with a text"
                skip(f"the query {query!r} has no relevant document{which}", on_skip)
                break
            count = size - len(chosen)
            if negatives == "collection":
                chosen += _from_all(everything, known, count, chance)
            else:
                chosen += drawn(pool, count, chance)
            order = permuted(chosen, chance) if shuffle else in_order(chosen, ids)
            made = listed(collection, query, order)
            if not informative(made, f"the list of the query {query!r}", on_skip):
                break
            found = True
            yield made
    if not found:
        raise InputError("no query of the run gives a list to learn from")


def grade_of(collection: Collection, query: str, document: str) -> int:
    """The grade of a document for a query; 0 where it was not judged, or is junk."""
    return max(0, collection.qrels.get(query, {}).get(document, 0))


def relevant_of(collection: Collection, query: str) -> list[str]:
    """The documents that were judged relevant and have a text, by id."""
    judged = sorted(collection.qrels.get(query, {}))
    return [d for d in judged if d in collection.documents and grade_of(collection, query, d) > 0]


def with_relevant(collection: Collection, run: Run, *, depth: int | None = None) -> Run:
    """The run, followed for each query by the relevant documents that it did not find.

    A teacher scores these documents for `mined_lists`.

    Args:
        collection: The judgements.
        run: Document ids by query id, best first.
        depth: Keep this many of the run's documents for each query; all when None.

    Examples:
        >>> judged = Collection(documents=dict.fromkeys("abc", "text"), queries={"q": "flea"},
        ...                     qrels={"q": {"c": 2}})
        >>> with_relevant(judged, {"q": ["a", "b"]}, depth=1)
        {'q': ['a', 'c']}
    """
    kept = {query: list(found[:depth]) for query, found in run.items()}
    return {
        query: [*found, *(d for d in relevant_of(collection, query) if d not in found)]
        for query, found in kept.items()
    }


def in_order(ids: Sequence[str], found: Sequence[str]) -> list[str]:
    """Ids in a run's order; those that it did not find last, by id."""
    place = {document: i for i, document in enumerate(found)}
    return sorted(ids, key=lambda document: (place.get(document, len(place)), document))


def listed(
    collection: Collection,
    query: str,
    ids: Sequence[str],
    *,
    labels: Sequence[float] | None = None,
    teacher: Mapping[str, float] | None = None,
) -> TrainingList:
    """The list of these documents, labelled with their grades unless there are other labels.

    Raises:
        InputError: They do not make a list; the message names the query.
    """
    grades = [grade_of(collection, query, document) for document in ids]
    try:
        return TrainingList(
            collection.queries[query],
            tuple(collection.documents[document] for document in ids),
            tuple(grades if labels is None else labels),
            query_id=query,
            ids=tuple(ids),
            teacher=() if teacher is None else tuple(teacher[document] for document in ids),
        )
    except InputError as error:
        raise InputError(f"the query {query!r}: {error}") from error


def _from_all(
    documents: Sequence[str], excluded: Sequence[str], count: int, chance: random.Random
) -> list[str]:
    """A few of many documents, in time that does not grow with their number."""
    if 2 * count + len(excluded) >= len(documents):
        return drawn([d for d in documents if d not in excluded], count, chance)
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        document = documents[int(chance.random() * len(documents))]
        if document not in excluded:
            chosen[document] = None
    return list(chosen)


def check_sizes(size: int, relevant: int) -> None:
    """Refuse lists that have no room for a relevant document and another."""
    at_least(2, size=size)
    if not 1 <= relevant < size:
        raise InputError(f"relevant is {relevant}, expected at least 1 and below the size {size}")
