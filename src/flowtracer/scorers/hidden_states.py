"""Scores from hidden states: how alike tokens are, and how much a token is what its text is about."""

import torch
from torch import Tensor, nn

from flowtracer.scorers.forward import apply_head
from flowtracer.scorers.scorer import Evidence, ScoreOptions

BLOCK = 512  # rows of the similarities at a time, our choice: T x T is never stored


def correlation(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`mean over response tokens s != t of |cos(h_t, h_s)|`, (B, T).

    The paper's words are "selecting tokens with strong mutual dependencies", without a formula, and
    the work it cites (arXiv 2406.17378) has none for positions. Our choices: cosine, its absolute
    value, the plain mean, and hidden states h after layer floor(L / 2). A response of one token scores 0.
    """
    assert evidence.hidden is not None
    return mutual_similarity(evidence.hidden, evidence.batch.candidates)


def aligned(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """Logit of token y_t under the model's head on the mean final state of the response, (B, T).

    Closest to the source that the paper cites for its correlation row ("A Text is Worth Several
    Tokens", arXiv 2406.17378): it decodes the embedding of a text with the model's head and
    takes the top vocabulary items. Our choices: the mean over the response as its embedding,
    positions scored by their own item (so equal tokens tie), no principal component removed, and a
    shift per response that makes its lowest token a tiny positive number.
    """
    assert evidence.alignment is not None
    return token_logit(evidence.alignment, evidence.batch.input_ids, evidence.batch.candidates)


def align(model: nn.Module, final: Tensor, candidates: Tensor) -> Tensor:
    """The head's logits of each response's mean state: (B, T, D) and (B, T) to (B, V) float32."""
    here = candidates.to(final.device)
    count = here.sum(1, keepdim=True).clamp(min=1)
    total = final.float().masked_fill(~here[:, :, None], 0.0).sum(1)
    return apply_head(model, (total / count).to(final.dtype)).float()


def mutual_similarity(hidden: Tensor, candidates: Tensor, *, block: int = BLOCK) -> Tensor:
    """Mean absolute cosine of each candidate to the others. (B, T, D) and (B, T) to (B, T)."""
    units = nn.functional.normalize(hidden.float(), dim=2)
    units = units.masked_fill(~candidates[:, :, None], 0.0)
    total = torch.zeros_like(units[:, :, 0])
    for start in range(0, hidden.shape[1], block):
        alike = (units[:, start : start + block] @ units.transpose(1, 2)).abs()
        alike.diagonal(offset=start, dim1=1, dim2=2).zero_()
        total[:, start : start + block] = alike.sum(2)
    return total / (candidates.sum(1, keepdim=True) - 1).clamp(min=1)


def token_logit(logits: Tensor, input_ids: Tensor, candidates: Tensor) -> Tensor:
    """Each candidate's logit above the lowest of its row. (B, V), (B, T), (B, T) to (B, T)."""
    at_token = logits.gather(1, input_ids)
    lowest = at_token.masked_fill(~candidates, torch.inf).amin(1, keepdim=True)
    above = (at_token - lowest).clamp(min=torch.finfo(logits.dtype).tiny)
    return above.masked_fill(~candidates, 0.0)
