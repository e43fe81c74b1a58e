"""Which tokens of a response get more credit (section 3.3, table 7 and section 5.2 of the paper)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flowtracer.flow import BACKBONE_RATIO, select_backbone


@dataclass(frozen=True)
class Selection:
    """A rule that picks tokens by their score, response by response.

    by: "ratio" takes `ceil(share * n)` of n candidates; "mass" takes tokens in falling order until
        they hold `share` of the response's total score (table 7 of the paper).
    share: 0.4, section 3.3 of the paper.
    end: "top" or "bottom" (table 5). Tokens with score 0 are never among the top, but can be among
        the bottom (our choice).
    among: "all" candidates, only "structural" ones (delimiters: no letter and no digit) or only
        "semantic" ones (the rest), section 5.2; the share is of that subset.
    """

    by: Literal["ratio", "mass"] = "ratio"
    share: float = BACKBONE_RATIO
    end: Literal["top", "bottom"] = "top"
    among: Literal["all", "structural", "semantic"] = "all"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"selection share is {self.share}; it must be above 0 and at most 1")
        allowed = {
            "by": ("ratio", "mass"),
            "end": ("top", "bottom"),
            "among": ("all", "structural", "semantic"),
        }
        for field, names in allowed.items():
            if getattr(self, field) not in names:
                raise ValueError(
                    f"selection {field} is {getattr(self, field)!r}; use {' or '.join(names)}"
                )
        if self.by == "mass" and self.end == "bottom":
            raise ValueError("selection by mass is defined from the top only; use by='ratio'")


def select(
    scores: Tensor,
    candidates: Tensor,
    selection: Selection,
    *,
    structural: Tensor | None = None,
) -> Tensor:
    """Chosen tokens, (B, T) bool.

    Shapes: scores (B, T), not negative and finite; candidates (B, T) bool; structural (B, T) bool,
    needed unless `selection.among` is "all". Ties go to the earlier token (our choice).
    """
    if selection.among != "all":
        if structural is None:
            raise ValueError(f"selection among {selection.among} tokens needs to know them")
        wanted = structural if selection.among == "structural" else ~structural
        candidates = candidates & wanted
    if selection.by == "mass":
        return _top_mass(scores, candidates, selection.share)
    if selection.end == "top":
        return select_backbone(scores, candidates, ratio=selection.share)
    return _bottom(scores, candidates, selection.share)


def _bottom(scores: Tensor, candidates: Tensor, ratio: float) -> Tensor:
    """The `ceil(ratio * n)` candidates with the lowest scores."""
    wanted = [math.ceil(ratio * n - 1e-9) for n in candidates.sum(1).tolist()]
    order = scores.masked_fill(~candidates, torch.inf).argsort(dim=1, stable=True)
    place = torch.arange(scores.shape[1], device=scores.device)
    rank = torch.empty_like(order).scatter_(1, order, place.expand_as(order))
    return (rank < torch.tensor(wanted, device=scores.device)[:, None]) & candidates


def _top_mass(scores: Tensor, candidates: Tensor, share: float) -> Tensor:
    """The shortest prefix in falling order that holds `share` of the candidates' total score."""
    held = scores.double().masked_fill(~candidates, 0.0)
    falling, order = held.sort(dim=1, descending=True, stable=True)
    before = falling.cumsum(1) - falling
    needed = before < share * falling.sum(1, keepdim=True) * (1 - 1e-12)
    return torch.zeros_like(candidates).scatter_(1, order, needed) & candidates & (held > 0)
