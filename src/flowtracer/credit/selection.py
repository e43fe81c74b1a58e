"""Which tokens of a response get more credit (section 3.3, table 7 and section 5.2 of the paper)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flowtracer.flow.backbone import BACKBONE_RATIO, select_backbone, select_highest
from flowtracer.scorers.scorer import check_choice

By = Literal["ratio", "mass"]
End = Literal["top", "bottom"]
Among = Literal["all", "structural", "semantic"]


@dataclass(frozen=True)
class Selection:
    """A rule that chooses tokens by their score, response by response.

    by: "ratio" takes `ceil(ratio * n)` of n candidates; "mass" takes tokens in descending order
        until they have `ratio` of the response's total score (table 7 of the paper).
    ratio: 0.4, section 3.3 of the paper.
    end: "top" or "bottom" (table 5). Tokens with score 0 are never among the top, but can be among
        the bottom (our choice).
    among: "all" candidates, only "structural" ones (delimiters: no letter and no digit) or only
        "semantic" ones (all others), section 5.2; the ratio is of that subset.
    """

    by: By = "ratio"
    ratio: float = BACKBONE_RATIO
    end: End = "top"
    among: Among = "all"

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ValueError(f"selection ratio is {self.ratio}; it must be above 0 and at most 1")
        check_choice("selection by", self.by, By)
        check_choice("selection end", self.end, End)
        check_choice("selection among", self.among, Among)
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
        candidates = candidates & (structural if selection.among == "structural" else ~structural)
    if selection.by == "mass":
        return _top_mass(scores, candidates, selection.ratio)
    if selection.end == "top":
        return select_backbone(scores, candidates, ratio=selection.ratio)
    return select_highest(-scores, candidates, ratio=selection.ratio)


def _top_mass(scores: Tensor, candidates: Tensor, ratio: float) -> Tensor:
    """The shortest prefix in descending order that holds `ratio` of the candidates' total score."""
    mass = scores.double().masked_fill(~candidates, 0.0)
    descending, order = mass.sort(dim=1, descending=True, stable=True)
    before = descending.cumsum(1) - descending
    needed = before < ratio * descending.sum(1, keepdim=True) * (1 - 1e-12)
    return torch.zeros_like(candidates).scatter_(1, order, needed) & candidates & (mass > 0)
