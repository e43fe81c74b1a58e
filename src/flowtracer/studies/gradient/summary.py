"""What the gradients of all batches say of each rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowtracer.gradients.alignment import (
    cosines,
    gram,
    others,
    sign_cosines,
    signal_to_noise,
)
from flowtracer.statistics.intervals import CONFIDENCE, Interval, bootstrap
from flowtracer.studies.gradient.study import gradient_file

RESAMPLES = 1000  # of ratios of signal to noise, our choice

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """A rule's figures; differences are to uniform weights, batch by batch.

    cosine: with the reward's own gradient of all other batches. grpo: with uniform GRPO's. sign: cosine
    of signs, with the reward's. effective_batch: how many times the rollouts uniform weights would need
    for the same signal, None where uniform weights show no signal.
    """

    name: str
    cosine: Interval
    difference: Interval
    grpo: Interval
    grpo_difference: Interval
    sign: Interval
    sign_difference: Interval
    signal: float
    effective_batch: Interval | None
    gini: float
    effective_tokens: float
    differences: Array  # (B,), of the cosine


def read_gradients(folder: Path, batches: Sequence[int], rule: int) -> Tensor:
    """Gradients of one rule over batches, (B, C); rule 0 is the reward's own gradient."""
    rows = [np.load(gradient_file(folder, batch), mmap_mode="r")[rule] for batch in batches]
    return torch.from_numpy(np.stack(rows))


def informative_batches(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Batches with any difference of rewards; in the others every gradient is 0."""
    return [row["batch"] for row in rows if row["informative"]]


def alignments(
    rows: Sequence[dict[str, Any]], names: Sequence[str], folder: Path, *, seed: int = 0
) -> list[Alignment]:
    """Figures of every rule, the uniform one first.

    Raises ValueError if fewer than 3 batches have any difference of rewards.
    """
    batches = informative_batches(rows)
    if len(batches) < 3:
        raise ValueError(
            f"only {len(batches)} batches have responses of different rewards; use more batches, more "
            "responses per problem, or problems that are neither always nor never solved"
        )
    used = [row for row in rows if row["informative"]]
    reward = others(read_gradients(folder, batches, 0))
    uniform = read_gradients(folder, batches, 1)
    with_uniform = others(uniform)
    base = [
        _array(cosines(uniform, reward)),
        _array(cosines(uniform, with_uniform)),
        _array(sign_cosines(uniform, reward)),
    ]
    products = gram(uniform.double()).numpy()
    result = []
    for number, name in enumerate(names, start=1):
        gradients = read_gradients(folder, batches, number)
        figures = [
            _array(cosines(gradients, reward)),
            _array(cosines(gradients, with_uniform)),
            _array(sign_cosines(gradients, reward)),
        ]
        (cosine, difference), (grpo, grpo_difference), (sign, sign_difference) = (
            (bootstrap(own, seed=seed), bootstrap(own - plain, seed=seed))
            for own, plain in zip(figures, base, strict=True)
        )
        own_products = gram(gradients.double()).numpy()
        spread = [row["rules"][name] for row in used]
        result.append(
            Alignment(
                name,
                cosine,
                difference,
                grpo,
                grpo_difference,
                sign,
                sign_difference,
                signal_to_noise(torch.from_numpy(own_products)),
                effective_batch(own_products, products, seed=seed),
                float(np.mean([measures["gini"] for measures in spread])),
                float(np.mean([measures["effective_tokens"] for measures in spread])),
                figures[0] - base[0],
            )
        )
    return result


def effective_batch(rule: Array, uniform: Array, *, seed: int = 0) -> Interval | None:
    """Ratio of the rule's signal-to-noise to uniform weights', with an interval over batches.

    Shapes: (B, B) inner products. A resampled batch is never paired with itself. None if uniform
    weights show no signal in more than the tails of the resamples: then the ratio means nothing.
    """
    signal, plain = (signal_to_noise(torch.from_numpy(each)) for each in (rule, uniform))
    if plain <= 0:
        return None
    generator = np.random.default_rng(seed)
    count = len(rule)
    counts = generator.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)
    pairs = counts[:, :, None] * counts[:, None, :]
    own, base = _signals(rule[None], pairs), _signals(uniform[None], pairs)
    tails = (1 - CONFIDENCE) / 2
    if np.mean(base <= 0) > tails:
        return None
    ratios = own / np.where(base > 0, base, np.nan)
    low, high = np.nanquantile(ratios, [tails, 1 - tails])
    return Interval(signal / plain, float(low), float(high))


def _signals(products: Array, pairs: Array) -> Array:
    """`signal_to_noise` of resampled batches, (S,): pairs (S, B, B) says how often a pair is sampled."""
    diagonal = np.eye(products.shape[-1], dtype=bool)
    apart = np.where(diagonal, 0.0, pairs)
    count = apart.sum((1, 2))
    signal = (products * apart).sum((1, 2)) / np.where(count > 0, count, np.nan)
    each = np.sqrt(np.where(diagonal, pairs, 0.0))
    square = (products * each).sum((1, 2)) / each.sum((1, 2))
    noise: Array = square - signal
    return signal / np.where(noise > 0, noise, np.nan)


def _array(values: Tensor) -> Array:
    return values.double().numpy()
