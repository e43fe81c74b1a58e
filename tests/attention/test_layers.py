"""Which layers a choice means."""

from itertools import count

import pytest

from flowtracer.attention import select_layers


@pytest.mark.parametrize(
    ("choice", "depth", "expected"),
    [
        ("middle", 36, tuple(range(12, 24))),
        ("middle", 30, tuple(range(10, 20))),
        ("middle", 6, (2, 3)),
        ("middle", 2, (0,)),
        ("middle", 1, (0,)),
        ("early", 36, tuple(range(12))),
        ("late", 36, tuple(range(24, 36))),
        ("all", 3, (0, 1, 2)),
        ("15-25", 36, tuple(range(15, 26))),
        ("3, 5,-1", 8, (3, 5, 7)),
        (range(2, 4), 8, (2, 3)),
        ([5, 1, 5], 8, (1, 5)),
        (-1, 8, (7,)),
    ],
)
def test_layer_choices(choice, depth, expected):
    assert select_layers(choice, depth) == expected


@pytest.mark.parametrize(
    "choice", ["0-999999999999", "8-99999999999", "0,1-99999999999", range(10**12), count()]
)
def test_endless_choices_are_refused_at_once(choice):
    with pytest.raises(ValueError, match="layers: 8 does not exist; this model has layers 0 to 7"):
        select_layers(choice, 8)


@pytest.mark.parametrize("choice", ["centre", "1-", "", "5-3", 8, -9, [0, 99], [], "early"])
def test_layer_choices_that_make_no_sense_are_refused(choice):
    depth = 2 if choice == "early" else 8
    with pytest.raises(ValueError, match="layers: "):
        select_layers(choice, depth)
