"""The losses of TRL's GRPO, RLOO and GMPO trainers written out, one token after another."""

from dataclasses import dataclass, replace
from math import inf

import torch


@dataclass(frozen=True)
class Rows:
    """Responses (B, T) as a loss sees them; advantages (B,)."""

    logps: torch.Tensor
    old: torch.Tensor
    reference: torch.Tensor
    entropies: torch.Tensor
    advantages: torch.Tensor
    mask: torch.Tensor
    correction: torch.Tensor  # vLLM's ratio, (B, T) or (B, 1)

    def one(self, row):
        return replace(self, **{name: value[row] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Settings:
    """TRL's own names and defaults, as far as losses read them."""

    loss_type: str = "dapo"
    importance_sampling_level: str = "token"
    low: float = 0.2
    high: float = 0.2
    delta: float = inf
    beta: float = 0.0
    use_bias_correction_kl: bool = False
    top_entropy_quantile: float = 1.0
    off_policy_mask_threshold: float | None = None
    entropy_coef: float = 0.0
    vllm: bool = False
    max_length: int = 0


def made_rows(seed=0):
    """Four responses of unlike length, ratios within and beyond the clip range, advantages of both signs."""
    random = torch.Generator().manual_seed(seed)
    batch, width = 4, 9
    mask = torch.ones(batch, width)
    mask[1, 6:] = 0
    mask[2, 2:4] = 0  # what a tool wrote
    mask[3, 3:] = 0
    logps = -torch.rand(batch, width, generator=random) * 2
    return Rows(
        logps=logps,
        old=logps - torch.randn(batch, width, generator=random) * 0.35,
        reference=logps + torch.randn(batch, width, generator=random) * 0.3,
        entropies=torch.rand(batch, width, generator=random),
        advantages=torch.tensor([1.3, -0.8, -1.1, 0.6]),
        mask=mask,
        correction=0.5 + torch.rand(batch, width, generator=random),
    )


def made_weights(rows, seed=1):
    """Weights (B, T) of 1 or 1.5, 1 where the policy wrote nothing."""
    random = torch.Generator().manual_seed(seed)
    chosen = torch.rand(rows.mask.shape, generator=random) < 0.4
    return torch.where(chosen & (rows.mask > 0), 1.5, 1.0)


def policy_loss(rows, settings):
    """What each token (B, T) loses by its advantage, before weights, masks and means."""
    ratio = (rows.logps - rows.old).exp()
    if settings.importance_sampling_level == "sequence":
        ratio = ratio_of_sequences(rows)[:, None].expand_as(ratio)
    gain = rows.advantages[:, None].expand_as(ratio)
    kind = settings.loss_type
    if kind == "cispo":
        return -ratio.clamp(max=settings.high).detach() * gain * rows.logps
    if kind == "sapo":
        temperature = torch.where(gain > 0, 1.0, 1.05)
        return -gain * 4 / temperature * torch.sigmoid(temperature * (ratio - 1))
    if kind == "vespo":
        total = ((rows.logps - rows.old) * rows.mask).sum(1, keepdim=True)
        if settings.vllm:
            total = total + rows.correction.log().sum(1, keepdim=True)
        k, scale = (torch.where(gain >= 0, a, b) for a, b in ((2.0, 3.0), (3.0, 2.0)))
        phi = (scale + k * total - scale * total.exp()).exp().detach()
        return -phi * gain * rows.logps
    clipped = ratio.clamp(1 - settings.low, 1 + settings.high)
    return -torch.min(ratio.clamp(max=settings.delta) * gain, clipped * gain)


def ratio_of_sequences(rows):
    """GSPO's ratio, the geometric mean over a response's tokens, (B,)."""
    return (((rows.logps - rows.old) * rows.mask).sum(1) / rows.mask.sum(1)).exp()


def grpo_loss(rows, settings, weights=None):
    """The whole loss; weights (B, T) multiply what each token loses by its advantage."""
    tokens = policy_loss(rows, settings)
    tokens = tokens if weights is None else tokens * weights
    kept = torch.ones_like(tokens)
    if settings.off_policy_mask_threshold is not None:
        drift = ((rows.old - rows.logps.detach()) * rows.mask).sum(1) / rows.mask.sum(1)
        keep = (rows.advantages >= 0) | (drift <= settings.off_policy_mask_threshold)
        kept = kept * keep[:, None]
    if settings.top_entropy_quantile < 1:
        own = rows.entropies[rows.mask > 0]
        least = own.quantile(1 - settings.top_entropy_quantile)
        kept = kept * (rows.entropies >= least)
    tokens = tokens * kept
    if settings.vllm and settings.loss_type != "vespo":
        tokens = tokens * rows.correction
    if settings.beta:
        apart = rows.reference - rows.logps
        divergence = apart.exp() - apart - 1
        if settings.use_bias_correction_kl:
            divergence = divergence * (rows.logps - rows.old).exp()
        tokens = tokens + settings.beta * divergence
    loss = mean_of_tokens(tokens, rows.mask, settings)
    if settings.entropy_coef:
        loss = loss - settings.entropy_coef * (rows.entropies * rows.mask).sum() / rows.mask.sum()
    return loss


def mean_of_tokens(tokens, mask, settings):
    """TRL's means over responses and tokens."""
    sums = (tokens * mask).sum(1)
    kind = settings.loss_type
    if kind in ("grpo", "sapo"):
        return (sums / mask.sum(1)).mean()
    if kind == "luspo":
        return sums.mean()
    if kind == "dr_grpo":
        return sums.sum() / (len(sums) * settings.max_length)
    return sums.sum() / mask.sum()


def rloo_loss(rows, settings):
    """One ratio of each response, the product over its tokens."""
    return clipped(((rows.logps - rows.old) * rows.mask).sum(1).exp(), rows, settings).mean()


def gmpo_loss(rows, settings):
    """The geometric mean of ratios that are clipped on the side where the advantage would push them."""
    ratio, gain = rows.logps - rows.old, rows.advantages[:, None]
    within = ratio.clamp(-settings.low, settings.high)
    one_sided = torch.where(gain > 0, torch.minimum(ratio, within), torch.maximum(ratio, within))
    mean = (one_sided * rows.mask).sum(1) / rows.mask.sum(1)
    return (-mean.exp() * rows.advantages).mean()


def clipped(ratio, rows, settings):
    bound = ratio.clamp(1 - settings.low, 1 + settings.high)
    return -torch.min(ratio * rows.advantages, bound * rows.advantages)
