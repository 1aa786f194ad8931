"""A loss that looks at one passage at a time."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ._padding import mean_over_lists, prepared


def binary_cross_entropy(scores: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
    r"""Binary cross-entropy of each passage's relevance, as a yes or no.

    .. math:: L = -\frac{1}{n} \sum_i y_i \log \sigma(s_i) + (1 - y_i) \log(1 - \sigma(s_i))

    Nothing is compared, so a list of one passage and a list of one grade count too.

    Args:
        scores: Logits ``s`` of relevance, shape ``(batch, n)``. For a model that answers yes or
            no: the difference of both logits.
        labels: Grades, the same shape; ``y`` is 1 where they are above 0.
        where: False at padding, the same shape.

    Returns:
        The mean over the lists that have a passage; 0 where none has. A scalar, in nats.

    Raises:
        InputError: The shapes disagree.

    References:
        Nogueira et al., Document Ranking with a Pretrained Sequence-to-Sequence Model,
        arXiv:2003.06713, trains this with the logits of two words.

    Examples:
        >>> scores, labels = torch.zeros(1, 2), torch.tensor([[3, 0]])
        >>> torch.allclose(binary_cross_entropy(scores, labels), torch.tensor(2.0).log())
        True
    """
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    losses = binary_cross_entropy_with_logits(scores, (labels > 0).to(scores), reduction="none")
    number = valid.sum(1)
    each = torch.where(valid, losses, 0.0).sum(1) / number.clamp(min=1)
    return mean_over_lists(each, number > 0)
