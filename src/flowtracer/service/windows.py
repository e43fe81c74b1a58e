"""Rows of any lengths as windows that are scored together, with little padding."""

from collections.abc import Sequence

from flowtracer.service.rows import Rows


def windows(rows: Rows, chosen: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Indices in windows whose rows times longest row stay within `tokens`, unless a row has more.

    Responses to one prompt stay together, as their prompt can be read once; apart from that rows are
    sorted by length. chosen: the rows to score.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in chosen:
        prompt = rows.input_ids[index][: rows.prompt_lengths[index]]
        groups.setdefault(tuple(prompt), []).append(index)
    length = [len(row) for row in rows.input_ids]
    ordered = sorted(groups.values(), key=lambda group: max(length[i] for i in group))
    result: list[list[int]] = []
    longest = 0
    for group in ordered:
        for index in sorted(group, key=lambda i: length[i]):
            longest = max(longest, length[index])
            if result and longest * (len(result[-1]) + 1) <= tokens:
                result[-1].append(index)
            else:
                result.append([index])
                longest = length[index]
    return result
