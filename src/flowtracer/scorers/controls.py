"""Controls that ask the model nothing: chance, position and delimiters."""

import hashlib

import torch
from torch import Tensor

from flowtracer.scorers.scorer import Evidence, ScoreOptions


def random(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """Uniform in (0, 1] on every real token, the random control of the paper's table 2, (B, T).

    The paper does not say how random tokens are drawn. Our choice: numbers depend only on `options.seed` and
    the row's own token ids, so that other rows and padding change nothing and a run can be repeated. Two
    equal rows get equal scores; for a new draw each step, pass another seed.
    """
    ids, real = evidence.batch.input_ids, evidence.batch.attention_mask > 0
    scores = torch.zeros(ids.shape, dtype=torch.float32)
    for row, (tokens, present) in enumerate(zip(ids.cpu(), real.cpu(), strict=True)):
        drawn = torch.rand(
            int(present.sum()), generator=_generator(tokens[present].tolist(), options.seed)
        )
        scores[row, present] = 1 - drawn  # rand can be 0 but not 1
    return scores.to(ids.device)


def position(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """A token's position in the response, from 1, so that late tokens score high; (B, T).

    A control of ours: is a method more than a preference for late tokens?
    """
    candidates = evidence.batch.candidates
    return (candidates.cumsum(1) * candidates).float()


def delimiters(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """1 for tokens without letter and digit, 0 for others (section 5.2 of the paper), (B, T).

    All delimiters tie, so a top ratio takes the earliest of them (our choice: the paper's
    structural-only variant ranks delimiters by flow; for that use `Selection(among="structural")`).

    Raises ValueError if the batch does not say which tokens are delimiters.
    """
    structural = evidence.batch.structural
    if structural is None:
        raise ValueError(
            "scorer 'delimiters' needs to know which tokens are delimiters; "
            "set `structural` of the batch"
        )
    return (structural & evidence.batch.candidates).float()


def _generator(tokens: list[int], seed: int) -> torch.Generator:
    """A source of chance that depends on these numbers only, the same in every process."""
    digest = hashlib.blake2b(repr((seed, tokens)).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
