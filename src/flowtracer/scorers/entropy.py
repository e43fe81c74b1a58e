"""How uncertain the model was when it wrote a token."""

import torch
from torch import Tensor, nn

from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.forward import LOGITS_AT_ONCE, apply_head, head_slices, predicted
from flowtracer.scorers.scorer import Evidence, ScoreOptions


def entropy(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`H_t = - sum over v of p(v | x, y_<t) log p(v | x, y_<t)`, (B, T), in nats.

    High-entropy credit after Wang et al. (arXiv 2506.01939), whose own method instead drops the
    gradient of all but the 20% of a batch's tokens with the highest entropy. The temperature is
    stated nowhere; our choice: raw logits, temperature 1, no top-k or top-p. A row's first token
    was not sampled and scores 0 (our choice).
    """
    assert evidence.entropy is not None
    return evidence.entropy


@torch.no_grad()
def response_entropy(
    model: nn.Module, batch: ScoreBatch, final: Tensor, *, at_once: int = LOGITS_AT_ONCE
) -> Tensor:
    """Entropy of the distribution that each candidate was drawn from, (B, T) float32.

    final: (B, T, D), hidden states in front of the head. at_once: logits in memory at a time.
    """
    rows, columns = (index.to(final.device) for index in predicted(batch, batch.candidates))
    entropies = torch.zeros(final.shape[:2], dtype=torch.float32, device=final.device)
    for part in head_slices(model, len(rows), at_once):
        logits = apply_head(model, final[rows[part], columns[part] - 1])
        entropies[rows[part], columns[part]] = entropy_of(logits).to(entropies.device)
    return entropies


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits), (N, V) to (N,) float32; an item with logit -inf adds nothing."""
    return torch.special.entr(logits.float().softmax(-1)).sum(-1)
