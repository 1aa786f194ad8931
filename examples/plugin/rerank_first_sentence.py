"""A strategy that ranks by the first sentences, and by the whole text where those leave a doubt.

After ``pip install ./examples/plugin`` it goes by its name everywhere: in specs, in Haystack's YAML
(``PluginRanker(strategy={"name": "first-sentence", ...})``) and in ``load_reranker``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rerank_plugins import Ranking
from rerank_plugins.calls import Plan
from rerank_plugins.ranking import Strategy


@dataclass(frozen=True, kw_only=True)
class FirstSentence:
    """Rank first sentences with ``inner``, then the whole text of the best ``depth``.

    Args:
        inner: What ranks.
        depth: How many passages are read in full.
    """

    inner: Strategy = field(kw_only=False)
    depth: int = 5

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan both rankings."""
        short = [text.partition(". ")[0] for text in passages]
        coarse = yield from self.inner.rank(query, short)
        best, rest = coarse.order[: self.depth], coarse.order[self.depth :]
        fine = yield from self.inner.rank(query, [passages[i] for i in best])
        report = coarse.report.followed(fine.report.mapped(best), best)
        return Ranking((*(best[j] for j in fine.order), *rest), report=report)
