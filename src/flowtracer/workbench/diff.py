"""What two lists of tokens have in common, and the ranges in which they differ. Pure functions."""

from collections.abc import Sequence
from itertools import takewhile

SHORTEST = 3  # tokens that a common part between two changes has at least, our choice

Ranges = list[list[int]]  # [first, last], last included


def changed_ranges(old: Sequence[int], new: Sequence[int]) -> tuple[Ranges, Ranges]:
    """Ranges of `old` and of `new` outside of what they have in common.

    That is their longest common subsequence, without parts of fewer than `SHORTEST` tokens between
    changes, which are chance (a comma, a digit) and would cut a change into pieces.
    """
    common = _joined(common_tokens(old, new), len(old), len(new))
    kept_old, kept_new = ({pair[side] for pair in common} for side in (0, 1))
    return _ranges(len(old), kept_old), _ranges(len(new), kept_new)


def common_prefix(old: Sequence[int], new: Sequence[int]) -> int:
    """How many tokens two lists have in common at their start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def common_tokens(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, int]]:
    """A longest common subsequence, as pairs of positions in rising order.

    Bit-parallel (Hyyrö 2004): one row of the table of lengths is one integer with a bit a token of
    `new`, 0 where the length grows. Thousands of tokens take milliseconds.
    """
    start = common_prefix(old, new)
    columns: dict[int, int] = {}
    for position, token in enumerate(new[start:]):
        columns[token] = columns.get(token, 0) | 1 << position
    width = len(new) - start
    full = (1 << width) - 1
    rows = [full]
    for token in old[start:]:
        row = rows[-1]
        match = row & columns.get(token, 0)
        rows.append(((row + match) | (row - match)) & full)
    pairs: list[tuple[int, int]] = []
    i, j = len(rows) - 1, width - 1
    while i > 0 and j >= 0:
        if rows[i] >> j & 1:  # no growth at this token of `new`
            j -= 1
        elif not rows[i - 1] >> j & 1:  # as long without this token of `old`
            i -= 1
        else:
            i -= 1
            pairs.append((start + i, start + j))
            j -= 1
    return [(position, position) for position in range(start)] + pairs[::-1]


def _joined(pairs: list[tuple[int, int]], old: int, new: int) -> list[tuple[int, int]]:
    """Pairs in runs of at least `SHORTEST`, or at either end of both lists."""
    kept: list[tuple[int, int]] = []
    run: list[tuple[int, int]] = []
    for pair in [*pairs, (-2, -2)]:
        if run and pair != (run[-1][0] + 1, run[-1][1] + 1):
            ends = run[0] == (0, 0) or run[-1] == (old - 1, new - 1)
            if ends or len(run) >= SHORTEST:
                kept += run
            run = []
        run.append(pair)
    return kept


def _ranges(length: int, common: set[int]) -> Ranges:
    """Ranges of the positions below `length` that are not common."""
    ranges: Ranges = []
    for position in range(length):
        if position in common:
            continue
        if ranges and ranges[-1][1] == position - 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    return ranges
