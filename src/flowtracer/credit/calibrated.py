"""Credit that measures its own direction: a list of rules, of which the best is used if it is known to be.

Pure functions: from gradients of parts of rollouts to differences of alignment, from these to a choice.
`integrations/trl_calibrated.py` puts them into a trainer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from flowtracer.credit.weighting import UNIFORM
from flowtracer.scorers.scorer import check_choice
from flowtracer.statistics.student import student_quantile

if TYPE_CHECKING:
    from flowtracer.credit.credit import Credit

# Both ends of the flow, two emphases each, and two rules that the referee found to be right here.
RULES = (
    "flow", "flow@emphasis=3", "flow@end=bottom", "flow@end=bottom,emphasis=3", "answer_attention",
    "position",
)  # fmt: skip
LEAST_PARTS = 3  # the jackknife leaves out one, and a part is compared with another

ChoiceOf = Literal["hard", "mixed"]


@dataclass(frozen=True)
class Calibrated:
    """How a trainer decides which rule to use; the defaults are our choice, compared in docs/learning.md.

    rules: in the short form of `study gradient`; uniform weights are always among them.
    every: batches of rollouts from one calibration to the next.
    first: batches at the start of a run that are all measured: most is learned there.
    parts: of a batch's prompts; each part's gradient is compared with the reward's gradient on all other
        parts of the last `window` calibrations.
    layers, coordinates: number of last layers whose trained parameters are compared, and of coordinates:
        so many change a difference of alignment by 0.002 (a standard deviation) from that of 262,144.
    window: calibrations whose gradients are kept and compared with each other.
    decay: weight of a calibration relative to the next one, 0 to 1.
    level: chance that any rule that is no better is ever used, over all rules and calibrations.
    choice: "hard" uses the best rule, "mixed" all that are better, in proportion to their lower bounds.
    normalise: whether weights are divided by their mean over the batch, so that a change of rule does not
        change the step length. The direction stays the same, so a rule is used as it was measured.
    """

    rules: tuple[str, ...] = RULES
    every: int = 8
    first: int = 8
    parts: int = 8
    layers: int = 1
    coordinates: int = 1 << 14
    window: int = 6
    decay: float = 0.8
    level: float = 0.05
    choice: ChoiceOf = "hard"
    normalise: bool = True

    def __post_init__(self) -> None:
        if not self.rules or isinstance(self.rules, str):
            raise ValueError(f"rules is {self.rules!r}; name at least one, such as ('flow',)")
        object.__setattr__(self, "rules", tuple(self.rules))
        if UNIFORM in self.rules:
            raise ValueError("uniform weights are always among the rules; leave 'uniform' out")
        if self.parts < LEAST_PARTS:
            raise ValueError(f"parts is {self.parts}; it must be at least {LEAST_PARTS}")
        if min(self.every, self.first, self.layers, self.coordinates, self.window) < 1:
            raise ValueError("every, first, layers, coordinates and window must be at least 1")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}; it must be at least 0 and below 1")
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}; it must be between 0 and 1")
        check_choice("choice", self.choice, ChoiceOf)
        self.credits("auto")

    def measures(self, batch: int) -> bool:
        """Whether this batch of rollouts, counted from 0, is measured."""
        return batch < self.first or batch % self.every == 0

    def credits(self, answer: Any) -> dict[str, "Credit"]:
        """The rules as `Credit`s by their names. Raises ValueError for a wrong one."""
        from flowtracer.credit.rules import parse_rules

        credits = {}
        for rule in parse_rules(self.rules):
            credit = rule.credit(answer=answer)
            assert credit is not None  # uniform is refused
            credits[rule.name] = credit
        return credits


@dataclass(frozen=True)
class Record:
    """What was measured: of each rule (R,), the mean difference to uniform, and its variance.

    parts: how many parts of equal weight would say as much.
    """

    means: tuple[float, ...]
    variances: tuple[float, ...]
    parts: int


@dataclass(frozen=True)
class Difference:
    """A rule's alignment minus uniform's, with one-sided bounds."""

    value: float
    low: float
    high: float


def measure(gradients: Tensor, *, weights: Tensor | None = None) -> Record:
    """Differences of alignment on parts of rollouts, with variances by the jackknife over parts.

    A part's gradient of a rule is compared, by its cosine, with the reward's gradient of the other parts,
    uniform weights' as well; parts share these references, which a plain variance over parts would not see.

    gradients: (P, 2 + R, C), P >= 3 parts: the reward's own, uniform weights', then R rules'.
    weights: (P,) of the parts, in the mean and in the references; None: equal ones.
    """
    values = gradients.double()
    reward, rules = values[:, 0], values[:, 1:]
    products = torch.einsum("prc,qc->rpq", rules, reward)  # of part p's rules with part q's reward
    rewards = reward @ reward.T
    lengths = rules.norm(dim=2).T
    count = len(values)

    distinct = 1 - torch.eye(count, dtype=values.dtype)

    def differences(weight: Tensor) -> Tensor:
        """Mean over the parts, (R,), by their weights (P,), of which some are 0."""
        others = weight * distinct  # (P, P)
        product = (products * others).sum(2)
        norm = (others @ rewards * others).sum(1)
        scale = lengths * norm.clamp(min=0).sqrt()
        cosine = torch.where(scale > 0, product / scale.clamp(min=1e-300), 0.0)
        mean = (cosine * weight).sum(1) / weight.sum()
        return mean[1:] - mean[0]

    every = torch.ones(count, dtype=values.dtype) if weights is None else weights.to(values)
    without = torch.stack([differences(every * left) for left in distinct])
    variance = (count - 1) / count * (without - without.mean(0)).square().sum(0)
    equal = round(float(every.sum() ** 2 / every.square().sum()))
    return Record(tuple(differences(every).tolist()), tuple(variance.tolist()), equal)


def window_weights(parts: Sequence[int], decay: float) -> Tensor:
    """Weight `decay^age` of each part of calibrations with so many parts, the newest last, (sum,)."""
    age = torch.arange(len(parts) - 1, -1, -1, dtype=torch.float64)
    return (decay**age).repeat_interleave(torch.tensor(parts))


def bounds(
    record: Record, settings: Calibrated, *, number: int, looks: int | None = None
) -> list[Difference]:
    """Every rule's difference as the calibration of this number, counted from 1, knows it.

    One-sided bounds by Student's t. The level is shared by the rules and by `looks`, the calibrations that
    are planned; if nobody knows how many, calibration k gets `1 / (k (k + 1))` of it.
    """
    share = 1 / (number * (number + 1)) if looks is None else 1 / max(looks, number)
    level = settings.level * share / len(record.means)
    quantile = student_quantile(1 - level, max(1, record.parts - 1))
    halves = [quantile * sqrt(variance) for variance in record.variances]
    pairs = zip(record.means, halves, strict=True)
    return [Difference(mean, mean - half, mean + half) for mean, half in pairs]


def shares(differences: Mapping[str, Difference], choice: ChoiceOf) -> dict[str, float]:
    """How much of each rule to use; nothing where no interval lies above 0, which means uniform weights.

    "hard": all of the rule with the highest mean among those that are better. "mixed": of all of these, by
    their lower bounds.
    """
    better = {name: difference for name, difference in differences.items() if difference.low > 0}
    if not better:
        return {}
    if choice == "hard":
        return {max(better, key=lambda name: better[name].value): 1.0}
    total = sum(difference.low for difference in better.values())
    return {name: difference.low / total for name, difference in better.items()}
