"""GAR and SlideGAR on graphs: beside plain re-statements of both algorithms."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.feedback import gar, slide_gar
from rerank_plugins.plans import run


def answered(plan):
    """Run a plan that asks for nothing."""
    return run(plan, lambda _calls: pytest.fail("nothing should be asked"))


class Graph:
    """A collection whose passages have scores and neighbours; it notes what was ranked."""

    def __init__(self, scores, edges):
        self.scores, self.edges, self.windows = scores, edges, []

    def score(self, ids):
        yield from ()
        self.windows.append(list(ids))
        return {key: self.scores[key] for key in ids}

    def order(self, ids):
        yield from ()
        self.windows.append(list(ids))
        return sorted(ids, key=lambda key: -self.scores[key])

    def neighbours(self, ids):
        yield from ()
        return [self.edges.get(key, []) for key in ids]


@st.composite
def graphs(draw):
    """A graph with duplicates and loops, and the first stage's list, which may repeat passages."""
    n = draw(st.integers(0, 40))
    ids = st.integers(0, max(n - 1, 0))
    places = draw(st.permutations(range(n)))
    edges = {key: draw(st.lists(ids, max_size=6)) for key in range(n) if draw(st.booleans())}
    first = draw(st.lists(ids, max_size=30)) if n else []
    return Graph(dict(enumerate(map(float, places))), edges), first


def plain_gar(graph, first, budget, batch):
    """Algorithm 1 of Adaptive Re-Ranking with a Corpus Graph, with two priority queues."""
    pools = [Counter(), Counter()]
    for rank, key in enumerate(first):
        pools[0].setdefault(key, -rank)
    scores, turn, lowest, batches = {}, 0, float("inf"), []
    while len(scores) < budget and (pools[0] or pools[1]):
        pool = pools[turn % 2]
        turn += 1
        if not pool:
            continue
        taken = [key for key, _ in pool.most_common(min(batch, budget - len(scores)))]
        batches.append(taken)
        for key in taken:
            scores[key] = graph.scores[key]
            del pools[0][key], pools[1][key]
        remaining = budget - len(scores)
        if not remaining:
            break
        lowest = grow(graph, pools[1], taken, scores, remaining, lowest)
    return scores, batches


def grow(graph, frontier, taken, scores, remaining, lowest):
    """Let neighbours into the frontier. The lowest priority that ever was in it."""
    for key in sorted(taken, key=graph.scores.get, reverse=True):
        own = graph.scores[key]
        if len(frontier) < remaining or own >= lowest:
            new = [key for key in graph.edges.get(key, []) if key not in scores]
            new = [key for key in new if key not in frontier or own > frontier[key]]
            for other in new:
                frontier[other] = own
                lowest = min(lowest, own)
    return lowest


def plain_slide_gar(graph, first, budget, size, step):
    """Algorithm 1 of Guiding Retrieval using LLM-based Listwise Rankers."""
    waiting, frontier = list(dict.fromkeys(first)), []
    carried, finished, turn, windows = [], [], 0, []
    while len(carried) + len(finished) < budget and (waiting or frontier):
        pool = frontier if turn % 2 else waiting
        turn += 1
        if not pool:
            continue
        room = min(step if windows else size, budget - len(carried) - len(finished))
        new = pool[:room]
        waiting = [key for key in waiting if key not in new]
        window = carried + new
        windows.append(window)
        ranked = sorted(window, key=graph.scores.get, reverse=True)
        carried, finished = ranked[:step], ranked[step:] + finished
        frontier = []
        for key in carried:
            for other in graph.edges.get(key, []):
                if other not in carried + finished + frontier and len(frontier) < step:
                    frontier.append(other)
    return carried + finished, windows


@given(graphs(), st.integers(1, 45), st.integers(1, 20))
def test_gar_is_the_published_algorithm(made, budget, batch):
    graph, first = made
    expected, batches = plain_gar(graph, first, budget, batch)
    plan = gar(first, score=graph.score, neighbours=graph.neighbours, budget=budget, batch=batch)
    found = answered(plan)
    assert found == expected
    assert list(found) == sorted(expected, key=expected.get, reverse=True)
    assert graph.windows == batches


@given(graphs(), st.integers(1, 45), st.integers(2, 20), st.data())
def test_slide_gar_is_the_published_algorithm(made, budget, size, data):
    graph, first = made
    step = data.draw(st.integers(1, size - 1))
    expected, windows = plain_slide_gar(graph, first, budget, size, step)
    plan = slide_gar(
        first,
        order=graph.order,
        neighbours=graph.neighbours,
        budget=budget,
        size=size,
        step=step,
    )
    assert answered(plan) == expected
    assert graph.windows == windows


@given(graphs(), st.integers(1, 45))
def test_no_more_is_ranked_than_the_budget_and_nothing_twice(made, budget):
    graph, first = made
    plan = gar(first, score=graph.score, neighbours=graph.neighbours, budget=budget, batch=7)
    ranked = [key for batch in (answered(plan), graph.windows)[1] for key in batch]
    assert len(ranked) == len(set(ranked)) <= budget


def test_without_edges_the_first_stage_is_ranked():
    graph = Graph({i: float(i) for i in range(50)}, {})
    found = answered(
        gar(range(50), score=graph.score, neighbours=graph.neighbours, budget=30, batch=8)
    )
    assert list(found) == list(range(29, -1, -1))
    assert [len(batch) for batch in graph.windows] == [8, 8, 8, 6]


def test_slide_gar_asks_as_often_as_a_sliding_window():
    graph = Graph({i: float(-i) for i in range(300)}, {i: [200 + i] for i in range(100)})
    found = answered(slide_gar(range(100), order=graph.order, neighbours=graph.neighbours))
    assert len(graph.windows) == 9
    assert len(found) == 100
    assert {len(window) for window in graph.windows} == {20}


def test_a_chain_of_neighbours_is_followed_to_its_end():
    graph = Graph({i: float(i) for i in range(10)}, {i: [i + 1] for i in range(9)})
    found = answered(gar([0], score=graph.score, neighbours=graph.neighbours, batch=1))
    assert list(found) == list(range(9, -1, -1))


def test_a_full_frontier_still_admits_neighbours_of_what_scored_as_well():
    edges = {"a": ["n1", "n2", "n3", "n4"], "n1": ["m"], "n2": ["x"]}
    graph = Graph({"a": 1.0, "n1": 5.0, "n2": 0.5, "b": 0.0, "m": 2.0}, edges)
    found = answered(gar("ab", score=graph.score, neighbours=graph.neighbours, budget=4, batch=1))
    assert graph.windows == [["a"], ["n1"], ["b"], ["m"]]  # before n2, which waits for longer
    assert list(found) == ["n1", "m", "a", "b"]


def test_gar_ends_where_nothing_is_scored():
    graph = Graph({}, {})

    def fails(ids):
        yield from ()
        return {}

    assert answered(gar(range(5), score=fails, neighbours=graph.neighbours)) == {}


def other_passages(ids):
    yield from ()
    return {"another": 1.0}


def every_second(ids):
    yield from ()
    return ids[::2]


def one_twice(ids):
    yield from ()
    return [ids[0], *ids[:-1]]


def test_answers_about_other_passages_are_refused():
    graph = Graph({}, {"another": ["b"]})
    with pytest.raises(InputError, match="score returned 'another'"):
        answered(gar("ab", score=other_passages, neighbours=graph.neighbours))
    for order in (other_passages, every_second, one_twice):
        with pytest.raises(InputError, match="order returned"):
            answered(slide_gar("abcd", order=order, neighbours=graph.neighbours))


@pytest.mark.parametrize("options", [{"budget": 0}, {"batch": 0}])
def test_gar_refuses(options):
    graph = Graph({}, {})
    with pytest.raises(InputError):
        answered(gar([], score=graph.score, neighbours=graph.neighbours, **options))


@pytest.mark.parametrize("options", [{"budget": 0}, {"step": 0}, {"size": 10, "step": 10}])
def test_slide_gar_refuses(options):
    graph = Graph({}, {})
    with pytest.raises(InputError):
        answered(slide_gar([], order=graph.order, neighbours=graph.neighbours, **options))
