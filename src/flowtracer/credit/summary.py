"""What a batch's credit came to: sums per response, and the figures that are logged of them.

Sums are kept per response, so that the parts of several processes can be added before any division.
"""

import warnings

import torch
from torch import Tensor

from flowtracer.credit.credit import TokenCredit, concentration
from flowtracer.regions import AnswerRule, rule_name
from flowtracer.scorers.batch import ScoreBatch

COUNTED = (
    "chosen",
    "weight",
    "tokens",
    "unanswered",
    "responses",
    "unscored",
    "concentration",
    "worked",
    "gini",
    "effective_tokens",
)


def credit_sums(batch: ScoreBatch, credit: TokenCredit, row_mask: Tensor) -> Tensor:
    """Sums of each response in the order of `COUNTED`, (B, 10) float32.

    row_mask: (B,) bool, rows that were to be scored. Chosen tokens, weights and tokens are counted of
    these; responses without an answer are counted of all that the policy wrote tokens of.
    """
    worked = row_mask & credit.answered
    tokens = batch.candidates & worked[:, None]
    real = batch.candidates.any(1)
    spread = torch.zeros(len(worked), device=worked.device)
    spread[worked] = concentration(credit.scores[worked], batch.candidates[worked])
    used = torch.where(tokens, credit.weights, 0.0)
    return torch.stack(
        [
            (credit.chosen & tokens).sum(1),
            used.sum(1),
            tokens.sum(1),
            real & ~credit.answered,
            real,
            worked & ~credit.scored,
            spread,
            worked,
            gini(used, tokens),
            effective_ratio(used, tokens),
        ],
        1,
    ).float()


def effective_ratio(weights: Tensor, candidates: Tensor) -> Tensor:
    """`(sum w)^2 / (n sum w^2)` of each response, (N,): 1 for even weights, 1 / n for a single one."""
    inside = torch.where(candidates, weights, 0.0).double()
    count = candidates.sum(1).clamp(min=1)
    return inside.sum(1).square() / (count * inside.square().sum(1)).clamp(min=1e-300)


def gini(weights: Tensor, candidates: Tensor) -> Tensor:
    """Gini coefficient of each response's weights, (N,): 0 for even weights, towards 1 for a single one.

    `sum over i of (2 i - n - 1) w_(i) / (n sum w)` with the weights in rising order, i from 1.
    """
    count = candidates.sum(1)
    ordered = torch.where(candidates, weights.double(), float("inf")).sort(1).values
    rank = torch.arange(1, weights.shape[1] + 1, device=weights.device)[None]
    inside = rank <= count[:, None]
    ordered = torch.where(inside, ordered, 0.0)
    total = ordered.sum(1).clamp(min=1e-300)
    return ((2 * rank - count[:, None] - 1) * ordered).sum(1) / (count.clamp(min=1) * total)


def of_rows(sums: Tensor, row_mask: Tensor) -> Tensor:
    """Sums per response (B, 10) that were computed over all rows, as of those of `row_mask` (B,) alone.

    Responses, and those without an answer, are still counted of all.
    """
    of_all = torch.tensor([name in ("unanswered", "responses") for name in COUNTED])
    return torch.where(of_all.to(sums.device) | row_mask.to(sums.device)[:, None], sums, 0.0)


def credit_metrics(sums: Tensor) -> dict[str, float]:
    """Metrics from summed counts, (10,): ratio of tokens chosen, mean weight, and so on."""
    count = dict(zip(COUNTED, sums.tolist(), strict=True))
    return {
        "selected": count["chosen"] / max(count["tokens"], 1),
        "mean_weight": count["weight"] / count["tokens"] if count["tokens"] else 1.0,
        "no_answer": count["unanswered"] / max(count["responses"], 1),
        "not_scored": count["unscored"] / max(count["worked"], 1),
        "concentration": count["concentration"] / max(count["worked"], 1),
        "gini": count["gini"] / max(count["worked"], 1),
        "effective_tokens": count["effective_tokens"] / max(count["worked"], 1),
        "responses": count["worked"],
    }


def warn_without_answers(no_answer: float, rule: AnswerRule, *, option: str) -> bool:
    """Warn, and return True, if most responses have no answer: they are trained on without credit.

    no_answer: of `credit_metrics`. option: where the rule can be chosen.
    """
    if no_answer <= 0.5:
        return False
    warnings.warn(
        f"{100 * no_answer:.0f}% of the responses have no answer by the rule {rule_name(rule)!r} and get "
        f"no credit; name another one with {option}, such as 'last-line', 'gsm8k' or 'regex:PATTERN'",
        stacklevel=3,
    )
    return True
