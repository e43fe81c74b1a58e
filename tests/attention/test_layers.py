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


# Qwen3-Next's pattern: every fourth layer of 24 attends by a softmax.
FOURTHS = (3, 7, 11, 15, 19, 23)


@pytest.mark.parametrize(
    ("choice", "depth", "softmax", "expected"),
    [
        ("middle", 24, FOURTHS, (11, 15)),
        ("early", 24, FOURTHS, (3, 7)),
        ("late", 24, FOURTHS, (19, 23)),
        ("all", 24, FOURTHS, FOURTHS),
        ("middle", 48, tuple(range(3, 48, 4)), (19, 23, 27, 31)),
        ("middle", 6, (5,), (5,)),  # none in the third: the nearest
        ("middle", 6, (0, 1, 4, 5), (1, 4)),  # on either side
        ("early", 6, (3, 5), (3,)),
        ("7, -1", 24, FOURTHS, (7, 23)),
        (range(3, 8, 4), 24, FOURTHS, (3, 7)),
    ],
)
def test_names_choose_among_the_layers_with_softmax_attention(choice, depth, softmax, expected):
    assert select_layers(choice, depth, softmax=softmax) == expected


@pytest.mark.parametrize("choice", ["3-7", 4, [3, 4]])
def test_a_layer_without_softmax_attention_is_refused_by_its_number(choice):
    message = (
        "layers: 4 has no softmax attention in this hybrid model; choose among 3, 7, 11, 15, 19"
    )
    with pytest.raises(ValueError, match=message):
        select_layers(choice, 24, softmax=FOURTHS)
