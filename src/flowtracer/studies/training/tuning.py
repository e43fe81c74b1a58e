"""Each method's learning rate, chosen on seeds that the comparison does not see. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

Tried = Mapping[float, Sequence[float | None]]


@dataclass(frozen=True)
class Choice:
    """The learning rate of a method and what it was chosen by.

    tried: of each rate the primary measure with every tuning seed; None for a run that failed.
    """

    rate: float
    tried: Tried

    @property
    def at_edge(self) -> bool:
        """Whether no lower or no higher rate was tried: then a better one may lie beyond."""
        return len(self.tried) > 1 and self.rate in (min(self.tried), max(self.tried))


def choose_rate(tried: Tried) -> Choice:
    """The rate with the highest mean over its seeds; the lowest of equal ones, our choice.

    A rate of which a run failed is not chosen: it was not tried with the seeds of the others.

    Raises ValueError if no rate has all of its runs.
    """
    means = {
        rate: fmean(value for value in values if value is not None)
        for rate, values in tried.items()
        if values and None not in values
    }
    if not means:
        raise ValueError("no learning rate has all of its tuning runs")
    best = max(means.values())
    return Choice(min(rate for rate, mean in means.items() if mean == best), tried)


def parse_rates(text: str) -> tuple[float, ...]:
    """Learning rates out of "1e-4/2e-4/4e-4". Raises ValueError for anything else."""
    try:
        rates = tuple(float(word) for word in text.split("/"))
    except ValueError:
        rates = ()
    if not rates or len(set(rates)) != len(rates) or not all(0 < r < float("inf") for r in rates):
        raise ValueError(
            f"--learning-rates {text!r} is not a list of different rates such as 1e-4/2e-4/4e-4"
        )
    return rates


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds out of "100/101". Raises ValueError for anything else."""
    words = text.split("/")
    if not all(word.isdecimal() for word in words) or len(set(words)) != len(words):
        raise ValueError(
            f"--tuning-seeds {text!r} is not a list of different seeds such as 100/101"
        )
    return tuple(map(int, words))
