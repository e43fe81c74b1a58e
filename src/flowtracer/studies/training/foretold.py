"""Did alignment predict training? What the referee said of each method, beside what training showed.

The referee's figure is a rule's cosine with the reward's gradient less that of uniform weights, batch by
batch; training's is the primary measure less the baseline's, seed by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from flowtracer.credit.rules import parse_rules
from flowtracer.statistics.intervals import CONFIDENCE, Interval, bootstrap
from flowtracer.statistics.ranks import Array, rank_correlation
from flowtracer.storage import read_json
from flowtracer.studies.training.learning import over_seeds
from flowtracer.studies.training.variants import Variant

RESAMPLES = 2000  # our choice
LEAST = 3  # methods


@dataclass(frozen=True)
class Pair:
    """One method: what was foretold, over batches, and what was seen, over seeds."""

    name: str
    foretold: Interval
    seen: Interval


@dataclass(frozen=True)
class Prediction:
    """Whether the order of the methods was foretold.

    correlation: Spearman's over methods; its interval resamples batches and seeds, the methods being
    what they are. p: how often methods in random order are ordered as well, two-sided. missing:
    methods of which the referee's study says nothing.
    """

    pairs: tuple[Pair, ...]
    correlation: Interval
    p: float
    missing: tuple[str, ...]


def read_foretold(folder: Path, variants: Sequence[Variant]) -> dict[str, Array]:
    """Differences to uniform weights by batch, (B,), of the methods that the study in `folder` has.

    A method is the same as a rule if their `Credit`s are, however they are written.

    Raises ValueError for a folder that holds no finished gradient study.
    """
    report = read_json(folder / "figures.json", dict)
    try:
        rules = {rule["name"]: np.array(rule["differences"], float) for rule in report["rules"]}
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{folder} holds no finished `study gradient` with the differences of single batches; run it"
        ) from None
    credits = {name: parse_rules([name])[0].credit(answer="auto") for name in rules}
    foretold = {}
    for variant in variants:
        credit = variant.credit()
        same = next(
            (name for name in rules if credit is not None and credits[name] == credit), None
        )
        if same is not None:
            foretold[variant.name] = rules[same]
    return foretold


def predict(
    foretold: Mapping[str, Array], seen: Mapping[str, Array], *, seed: int = 0
) -> Prediction:
    """Hold them against each other. Arrays: (batches,) and (seeds,), the same ones for all methods.

    Raises ValueError for fewer than 3 methods or 2 seeds.
    """
    names = [name for name in seen if name in foretold]
    if len(names) < LEAST or len(seen[names[0]]) < 2:
        raise ValueError(
            f"{len(names)} methods of the study were foretold; a rank correlation needs {LEAST} or more, "
            "and two seeds"
        )
    generator = np.random.default_rng(seed)
    # (M, B), (M, S)
    x, y = (np.stack([differences[name] for name in names]) for differences in (foretold, seen))
    value = spearman(x.mean(1), y.mean(1))
    resampled = [
        spearman(
            x[:, generator.integers(0, x.shape[1], x.shape[1])].mean(1),
            y[:, generator.integers(0, y.shape[1], y.shape[1])].mean(1),
        )
        for _ in range(RESAMPLES)
    ]
    tails = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tails, 1 - tails])
    shuffled = np.array(
        [spearman(x.mean(1), generator.permutation(y.mean(1))) for _ in range(RESAMPLES)]
    )
    reached = int((abs(shuffled) >= abs(value) - 1e-12).sum())
    return Prediction(
        tuple(_pair(name, foretold[name], seen[name]) for name in names),
        Interval(value, float(low), float(high)),
        (reached + 1) / (RESAMPLES + 1),
        tuple(name for name in seen if name not in foretold),
    )


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation of (M,) values; equal ones share their mean rank. 0 without spread."""
    value = rank_correlation(x, y)
    return 0.0 if isnan(value) else value


def in_words(prediction: Prediction) -> str:
    """One paragraph: the correlation, and what it means."""
    correlation = prediction.correlation
    verdict = "whether alignment predicts training is open"
    if prediction.p < 1 - CONFIDENCE:  # a few methods are soon in this order by chance
        if correlation.low > 0:
            verdict = "alignment predicts the order of the methods"
        elif correlation.high < 0:
            verdict = "alignment predicts the reverse order"
    text = (
        f"Foretold against seen, {len(prediction.pairs)} methods: Spearman's rank correlation "
        f"{correlation.value:+.2f} [{correlation.low:+.2f}, {correlation.high:+.2f}] (95%, resampling seeds "
        f"and batches; methods in random order reach it with p = {prediction.p:.3f}): {verdict}."
    )
    if prediction.missing:
        text += f" Not foretold: {', '.join(prediction.missing)}."
    return text


def plain(prediction: Prediction) -> dict[str, Any]:
    """Values for JSON."""
    return asdict(prediction)


def _pair(name: str, foretold: Array, seen: Array) -> Pair:
    interval = over_seeds(seen.tolist())
    assert interval is not None
    return Pair(name, bootstrap(foretold), interval)
