"""What two lists of tokens have in common, compared with the plain table of lengths."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flowtracer.workbench.diff import changed_ranges, common_prefix, common_tokens

TOKENS = st.lists(st.integers(0, 3), max_size=12)


def longest(old, new):
    """Length of the longest common subsequence."""
    lengths = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, a in enumerate(old):
        for j, b in enumerate(new):
            lengths[i + 1][j + 1] = (
                lengths[i][j] + 1 if a == b else max(lengths[i][j + 1], lengths[i + 1][j])
            )
    return lengths[-1][-1]


@given(TOKENS, TOKENS)
def test_it_is_a_longest_common_subsequence(old, new):
    pairs = common_tokens(old, new)
    assert len(pairs) == longest(old, new)
    assert all(old[i] == new[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))


@given(TOKENS, TOKENS)
def test_what_is_not_changed_is_the_same(old, new):
    same = [
        [token for i, token in enumerate(ids) if not any(a <= i <= b for a, b in ranges)]
        for ids, ranges in zip((old, new), changed_ranges(old, new), strict=True)
    ]
    assert same[0] == same[1]


def test_changes_are_not_cut_by_a_comma():
    old, new = [1, 2, 3, 9, 4, 5, 6, 7, 8], [1, 2, 3, 10, 4, 11, 6, 7, 8]
    assert changed_ranges(old, new) == ([[3, 5]], [[3, 5]])
    assert common_prefix(old, new) == 3
    assert changed_ranges(old, old) == ([], [])
