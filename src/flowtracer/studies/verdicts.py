"""From paired differences to a verdict that does not read signal out of noise. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from flowtracer.statistics.intervals import CONFIDENCE, Interval, bootstrap

FLIPS = 20_000  # our choice
POWER = 0.8  # our choice, of the number of units that would tell

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What is known of one rule against its baseline.

    p: of a two-sided sign-flip test. adjusted: after Holm's correction for all rules tested together.
    word: "better", "worse" or "undecided". needed: units (batches, problems) at which a difference of
    the size seen would be significant four times in five; None if it is, or if there is none.
    """

    name: str
    difference: Interval
    p: float
    adjusted: float
    word: str
    needed: int | None


def judge(differences: Mapping[str, Array], *, seed: int = 0) -> list[Verdict]:
    """A verdict on each rule by its differences (n,) over units, 0 meaning no difference.

    Raises ValueError if there are fewer than 2 units.
    """
    for name, values in differences.items():
        if len(values) < 2:
            raise ValueError(f"{name}: {len(values)} unit is too few for a verdict; use 2 or more")
    p_values = [sign_flip_p(values, seed=seed) for values in differences.values()]
    verdicts = []
    for (name, values), p, adjusted in zip(
        differences.items(), p_values, holm(p_values), strict=True
    ):
        mean = float(values.mean())
        decided = adjusted < 1 - CONFIDENCE
        word = ("better" if mean > 0 else "worse") if decided else "undecided"
        needed = None if decided else units_needed(values, rules=len(differences))
        if needed is not None:  # what there was did not tell
            needed = max(needed, len(values) + 1)
        interval = bootstrap(values, seed=seed)
        verdicts.append(Verdict(name, interval, p, adjusted, word, needed))
    return verdicts


def sign_flip_p(values: Array, *, seed: int = 0) -> float:
    """Two-sided p that the mean of (n,) paired differences is 0: how often random signs reach as far.

    Exact in expectation for differences symmetric around 0, whatever their distribution. The value
    itself counts as one of the flips, so that p is never 0.
    """
    generator = np.random.default_rng(seed)
    observed = abs(values.sum())
    reached = 0
    for _ in range(0, FLIPS, 1000):
        signs = generator.integers(0, 2, (1000, len(values))) * 2 - 1
        reached += int((abs(signs @ values) >= observed * (1 - 1e-12)).sum())
    return (reached + 1) / (FLIPS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given.

    `max over j <= i of min(1, (m - j + 1) p_(j))` with p in rising order; the chance of any false
    verdict stays below the level (Holm 1979).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def units_needed(values: Array, *, rules: int = 1) -> int | None:
    """Units at which a difference of the size seen would be significant with a chance of 80%.

    `((z_(1 - 0.05 / 2m) + z_0.8) s / mean)^2` for m rules tested together (Bonferroni, which Holm does
    not fall below). None if the mean is 0.
    """
    mean = values.mean()
    if mean == 0:
        return None
    normal = NormalDist()
    z = normal.inv_cdf(1 - (1 - CONFIDENCE) / (2 * rules)) + normal.inv_cdf(POWER)
    return int(np.ceil((z * values.std(ddof=1) / mean) ** 2))


def in_words(verdicts: Sequence[Verdict], *, baseline: str, units: str, count: int) -> str:
    """One paragraph: what is better, what is worse, what is undecided, and how many units would settle it."""
    sentences = []
    for word in ("better", "worse"):
        chosen = [verdict for verdict in verdicts if verdict.word == word]
        chosen.sort(key=lambda verdict: -abs(verdict.difference.value))
        names = [
            f"{v.name} ({v.difference.value:+.3f} [{v.difference.low:+.3f}, {v.difference.high:+.3f}])"
            for v in chosen
        ]
        sentences.append(f"{word.capitalize()} than {baseline}: {', '.join(names) or 'none'}.")
    undecided = [verdict for verdict in verdicts if verdict.word == "undecided"]
    if undecided:
        hints = [
            f"{v.name} (about {v.needed:,} {units} would settle it)" if v.needed else v.name
            for v in undecided
        ]
        sentences.append(f"Undecided with {count:,} {units}: {', '.join(hints)}.")
    sentences.append(
        f"Intervals are of single rules; verdicts hold for all {len(verdicts)} together (Holm)."
    )
    better = [verdict for verdict in verdicts if verdict.word == "better"]
    if better:
        best = max(better, key=lambda verdict: verdict.difference.value)
        sentences.append(f"The largest difference is that of {best.name}.")
    else:
        sentences.append(f"No rule is recommended over {baseline}.")
    return " ".join(sentences)
