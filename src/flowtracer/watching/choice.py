"""Which rollouts of a batch are kept: different rewards, and both signs of advantage."""

from collections.abc import Sequence
from math import isnan
from typing import TypeVar

Item = TypeVar("Item")


def chosen_rows(rewards: Sequence[float], advantages: Sequence[float], count: int) -> list[int]:
    """At most `count` rows of a batch, in rising order; the same for the same numbers.

    Rows with an advantage come first, half of them of either sign where there are enough; the rest are
    rows that nothing is learned from. Of each sign the rewards are as different as can be, then the rows
    far apart, because rows of one prompt are adjacent.

    rewards, advantages: of each row; a reward that is no number is a value of its own.
    """
    groups: tuple[list[int], list[int], list[int]] = ([], [], [])  # above 0, below 0, 0
    for row, advantage in enumerate(advantages):
        groups[0 if advantage > 0 else 1 if advantage < 0 else 2].append(row)
    above, below, none = groups
    of_above = min(len(above), max((count + 1) // 2, count - len(below)))
    of_below = min(len(below), count - of_above)
    chosen = [
        *_spread(above, rewards, of_above),
        *_spread(below, rewards, of_below),
        *_spread(none, rewards, min(len(none), count - of_above - of_below)),
    ]
    return sorted(chosen)


def _spread(rows: Sequence[int], rewards: Sequence[float], count: int) -> list[int]:
    """`count` of the rows: every reward in turn, and of one reward rows that are far apart."""
    cells: dict[float | None, list[int]] = {}
    for row in rows:
        cells.setdefault(None if isnan(rewards[row]) else rewards[row], []).append(row)
    values = sorted(cells, key=lambda value: (value is None, value or 0.0))
    values = evenly(values, count)
    quota = dict.fromkeys(values, 0)
    left = count
    while left > 0 and any(quota[value] < len(cells[value]) for value in values):
        for value in values:
            if left > 0 and quota[value] < len(cells[value]):
                quota[value] += 1
                left -= 1
    return [row for value in values for row in evenly(cells[value], quota[value])]


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, evenly spaced, the first and the last among them."""
    if count <= 1 or len(items) <= count:
        return list(items[:count])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
