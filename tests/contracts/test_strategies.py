"""The shipped contract over every strategy, alone and combined."""

import math

import pytest

from rerank_plugins import InputError, Passage, Reranker, registry
from rerank_plugins.plans import run
from rerank_plugins.strategies import (
    AcuRank,
    AttentionScore,
    BestChunk,
    Blend,
    BlitzRank,
    BlockEmbedding,
    Calibrated,
    Cascade,
    Consensus,
    ConstrainedPermutation,
    FullList,
    Groupwise,
    Head,
    Hybrid,
    JointRank,
    KeepOrder,
    PairScore,
    Pairwise,
    Permutation,
    Pointwise,
    PointwiseGrade,
    PseudoQuery,
    QueryLikelihood,
    Setwise,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
    When,
)
from rerank_plugins.testing import Failing, Oracle, StrategyContract

TESTED = {}


def contract(name, build, most=None):
    """The contract of a strategy, as a class that pytest collects."""

    class Suite(StrategyContract):
        max_passages = most

        @pytest.fixture
        def strategy(self):
            return build()

    TESTED[name] = build
    Suite.__name__ = Suite.__qualname__ = f"Test{name}"
    return Suite


TestSingleToken = contract("SingleToken", SingleToken, most=26)
TestSingleTokenWithNumbers = contract(
    "SingleTokenWithNumbers", lambda: SingleToken(prompt="rankzephyr.v1"), most=9
)
TestPermutation = contract("Permutation", Permutation)
TestPermutationWithLetters = contract(
    "PermutationWithLetters", lambda: Permutation(prompt="rankllm-letters.v1"), most=26
)
TestReasonRank = contract("ReasonRank", lambda: Permutation(prompt="reasonrank.v1"))
TestDearListwise = contract("DearListwise", lambda: Permutation(prompt="dear-listwise.v1"))
TestFullList = contract("FullList", FullList)
TestFullListOneToken = contract("FullListOneToken", lambda: FullList(read="single-token"))
TestFullListConstrained = contract("FullListConstrained", lambda: FullList(read="constrained"))
TestConstrained = contract("Constrained", ConstrainedPermutation)
TestConstrainedLetters = contract(
    "ConstrainedLetters", lambda: ConstrainedPermutation(prompt="first.v1"), most=26
)
TestQueryLikelihood = contract("QueryLikelihood", QueryLikelihood)
TestPointwise = contract("Pointwise", Pointwise)
TestMonoT5 = contract("MonoT5", lambda: Pointwise(prompt="monot5.v1"))
TestPairScore = contract("PairScore", PairScore)
TestRawLogit = contract("RawLogit", lambda: Pointwise(prompt="zerank.v1"))
TestRank1 = contract("Rank1", lambda: Pointwise(prompt="rank1.v1"))
TestPointwiseGrade = contract("PointwiseGrade", PointwiseGrade)
TestExpectedGrade = contract("ExpectedGrade", lambda: PointwiseGrade(expectation=True))
TestExpectedGradeAtOnce = contract(
    "ExpectedGradeAtOnce", lambda: PointwiseGrade(prompt="grades.v1", expectation=True)
)
TestBlockEmbedding = contract("BlockEmbedding", BlockEmbedding)
TestSmallBlocks = contract("SmallBlocks", lambda: BlockEmbedding(size=7))
TestPseudoQuery = contract("PseudoQuery", PseudoQuery)
TestPseudoQueryOfTheCard = contract(
    "PseudoQueryOfTheCard", lambda: PseudoQuery(prompt="e2rank-card.v1", inputs=3)
)
TestGroupwise = contract("Groupwise", Groupwise)
TestSetwiseHeap = contract("SetwiseHeap", Setwise)
TestSetwiseBubble = contract("SetwiseBubble", lambda: Setwise(method="bubble"))
TestSetwiseWritten = contract("SetwiseWritten", lambda: Setwise(answer="written"))
TestRankR1 = contract("RankR1", lambda: Setwise(prompt="rank-r1.v1", answer="written", others=19))
TestCopeland = contract("Copeland", Pairwise)
TestBorda = contract("Borda", lambda: Pairwise(aggregate="borda"))
TestPath = contract("Path", lambda: Pairwise(aggregate="path"))
TestSlidingFirst = contract("SlidingFirst", lambda: SlidingWindow(inner=SingleToken()))
TestNarrowWindows = contract(
    "NarrowWindows", lambda: SlidingWindow(inner=Permutation(), size=3, stride=2)
)
TestPasses = contract("Passes", lambda: SlidingWindow(SingleToken(), size=5, stride=2, passes=3))
TestTopDown = contract("TopDown", lambda: TopDown(SingleToken()))
TestNarrowTopDown = contract("NarrowTopDown", lambda: TopDown(SingleToken(), size=4, top_m=3))
TestTournament = contract("Tournament", lambda: Tournament(SingleToken()))
TestNarrowTournament = contract("NarrowTournament", lambda: Tournament(SingleToken(), size=4))
TestJointRank = contract("JointRank", lambda: JointRank(SingleToken()))
TestNarrowJointRank = contract(
    "NarrowJointRank", lambda: JointRank(SingleToken(), size=4, repeats=3)
)
TestJointRankByWins = contract(
    "JointRankByWins", lambda: JointRank(SingleToken(), size=5, aggregate="borda")
)
TestBlitzRank = contract("BlitzRank", lambda: BlitzRank(SingleToken()))
TestNarrowBlitzRank = contract("NarrowBlitzRank", lambda: BlitzRank(SingleToken(), size=4, top_m=3))
TestAcuRank = contract("AcuRank", lambda: AcuRank(SingleToken()))
TestNarrowAcuRank = contract("NarrowAcuRank", lambda: AcuRank(SingleToken(), size=5, top_m=3))
TestAttentionScore = contract("AttentionScore", lambda: AttentionScore(heads=("0-1",)))
TestBestChunk = contract("BestChunk", lambda: BestChunk(PairScore()))
TestBestChunkListwise = contract("BestChunkListwise", lambda: BestChunk(SingleToken()), most=26)
TestHead = contract("Head", lambda: Head(PairScore(), n=15))
TestWhen = contract("When", lambda: When(SlidingWindow(Permutation())))
TestCascade = contract(
    "Cascade", lambda: Cascade(first=PairScore(), then=SlidingWindow(Permutation()), depth=7)
)
TestConsensus = contract("Consensus", lambda: Consensus(SingleToken(), passes=4), most=26)
TestConsensusOdd = contract("ConsensusOdd", lambda: Consensus(Permutation(), passes=5))
TestCalibrated = contract("Calibrated", lambda: Calibrated(PairScore(), slope=2.0, places=0.5))
TestHybrid = contract("Hybrid", lambda: Hybrid(Pointwise(), alpha=0.2))
TestHybridAlone = contract("HybridAlone", lambda: Hybrid(Pointwise(), places=False))


class TestHybridScores:
    """Both ends of a list of three are sqrt(3/2) standard deviations from its mean."""

    KEYED = Oracle(key=lambda query, passage: float(passage))

    def ranked(self, passages, **options):
        return run(Hybrid(PairScore(), **options).rank("query", passages), self.KEYED.run)

    @pytest.mark.parametrize("places", [True, False])
    @pytest.mark.parametrize(("alpha", "order"), [(0.4, (2, 1, 0)), (0.6, (0, 1, 2))])
    def test_the_first_stage_s_scores(self, alpha, order, places):
        passages = [Passage("0", score=0.3), Passage("1", score=0.2), Passage("2", score=0.1)]
        ranking = self.ranked(passages, alpha=alpha, places=places)
        assert ranking.order == order
        end = 0.2 * math.sqrt(1.5)
        assert ranking.scores == pytest.approx((end, 0.0, -end))
        assert ranking.score_kind == "z-score"

    @pytest.mark.parametrize("last", ["2", Passage("2", score=math.nan)])
    def test_a_score_is_missing(self, last):
        passages = [Passage("0", score=0.3), Passage("1", score=0.2), last]
        by_place = self.ranked(passages, alpha=0.6)
        assert (by_place.order, by_place.score_kind) == ((0, 1, 2), "z-score")
        alone = self.ranked(passages, alpha=0.6, places=False)
        assert (alone.order, alone.scores, alone.score_kind) == (
            (2, 1, 0),
            (2.0, 1.0, 0.0),
            "logit",
        )

    @pytest.mark.parametrize("fails", ["0123", "1"])
    def test_a_failure_gives_no_scores(self, fails):
        backend = Failing(when=lambda call: call.passage in fails, otherwise=self.KEYED)
        passages = [Passage(str(i), score=float(i % 3)) for i in range(4)]
        for places in (True, False):
            mixed, alone = (
                Reranker(strategy, backend, on_error="keep_order").rank("query", passages)
                for strategy in (Hybrid(PairScore(), places=places), PairScore())
            )
            assert alone.report.fallback
            assert (mixed.order, mixed.score_kind) == (alone.order, "rank")

    def test_huge_scores_are_numbers_too(self):
        passages = [
            Passage("0", score=1e308),
            Passage("1", score=1e308),
            Passage("2", score=-1e308),
        ]
        assert self.ranked(passages, alpha=0.9).order == (1, 0, 2)

    def test_all_scores_are_equal(self):
        passages = [Passage("0", score=7.0), Passage("1", score=7.0)]
        assert self.ranked(passages, alpha=0.9).order == (1, 0)


class TestBlend(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return Blend(inner=QueryLikelihood(), k=1.0)

    def test_the_better_of_two_wins(self, strategy):
        """Of two passages each is first once, so the tie keeps the input order; of three not."""
        oracle = Oracle(key=lambda query, passage: float(passage))
        assert run(strategy.rank("query", ("1", "2")), oracle.run).order == (0, 1)
        # Fused with k = 1: 1/2 + 1/4, 1/3 + 1/3, 1/4 + 1/2.
        assert run(strategy.rank("query", ("1", "2", "3")), oracle.run).order == (0, 2, 1)

    def test_a_bad_k_is_refused(self, strategy):
        with pytest.raises(InputError):
            Blend(inner=strategy, k=-1.0)


class TestKeepOrder(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return SlidingWindow(inner=SingleToken())

    def test_a_failure_is_a_call_error(self, strategy):
        """`KeepOrder` is what turns a failure into an order, so here there is none."""
        ranking = run(KeepOrder(inner=strategy).rank("q", ("a", "b")), Failing().run)
        assert ranking.report.fallbacks


def test_no_strategy_was_forgotten():
    tested = {type(build()).__name__ for build in TESTED.values()} | {"Blend", "KeepOrder"}
    registered = {t.rpartition(":")[2] for t in registry.BUILT_IN["strategies"].values()}
    assert tested == registered


@pytest.mark.parametrize("name", TESTED)
def test_every_strategy_has_a_spec(name):
    built = TESTED[name]()
    spec = registry.to_spec("strategies", built)
    assert registry.from_spec("strategies", spec) == built
