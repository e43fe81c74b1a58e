"""Where values are estimated, and credit out of values."""

from itertools import accumulate

import pytest
import torch

from flowtracer.credit.values import credit_of_values, decisions, spread, unit_starts


def test_credit_of_a_chain_with_known_values():
    values = torch.tensor([0.5, 0.75, 0.25], dtype=torch.float64)
    assert credit_of_values(values, 1.0).tolist() == [0.25, -0.5, 0.75]


def test_decisions_are_the_uncertain_tokens():
    logs = torch.tensor([0.97, 0.99, 1.0, 0.5]).log()
    assert decisions(logs) == [0, 3]
    assert decisions(torch.zeros(3)) == [0]


def units(text, pieces, **options):
    """The text of every unit, for a text in pieces of tokens."""
    stops = list(accumulate(map(len, pieces)))
    assert text == "".join(pieces)
    offsets = list(zip([0, *stops], stops, strict=False))
    starts = [offsets[index][0] for index in unit_starts(text, offsets, **options)]
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def test_units_are_lines_and_sentences():
    text = "One. Two!\nThree 3.5 four\n\n"
    assert units(text, list(text)) == ["One.", " Two!\n", "Three 3.5 four\n\n"]


def test_a_token_that_begins_with_a_space_begins_its_sentence():
    pieces = ["Ella", " got", " 4", ".", " Since", ' "', "all", '."', " are", " 40", ".\n", "So"]
    assert units("".join(pieces), pieces) == ["Ella got 4.", ' Since "all."', " are 40.\n", "So"]


def test_the_number_of_an_item_and_a_line_of_brackets_are_no_units():
    text = "Step by step.\n\n1. Ella got 4. So 36.\n  2. **Now\n   \\[\n   6 / 2\n   \\]\n \nIt is 3. Done"
    assert units(text, list(text)) == [
        "Step by step.\n\n",
        "1. Ella got 4.",
        " So 36.\n",
        "  2. **Now\n   \\[\n",
        "   6 / 2\n   \\]\n \n",
        "It is 3.",
        " Done",
    ]


def test_short_units_go_on_with_the_next():
    pieces = ["a", ".", " b", " b", " b", ".", " c", ".", " d", " d", " d", ".\n", "e"]
    text = "".join(pieces)
    assert units(text, pieces) == ["a.", " b b b.", " c.", " d d d.\n", "e"]
    assert units(text, pieces, least=3) == ["a. b b b.", " c. d d d.\n", "e"]


def test_a_text_that_ends_with_a_unit_has_no_empty_one():
    assert units("Yes.\n", ["Yes", ".\n"]) == ["Yes.\n"]
    assert units("\n\nYes. ", ["\n\n", "Yes", ". "]) == ["\n\n", "Yes. "]


def test_a_units_credit_goes_to_its_first_token_or_to_all():
    credit = torch.tensor([0.6, -0.2])
    assert spread(credit, [0, 3], 5, evenly=False).tolist() == pytest.approx([0.6, 0, 0, -0.2, 0])
    assert spread(credit, [0, 3], 5, evenly=True).tolist() == pytest.approx(
        [0.2, 0.2, 0.2, -0.1, -0.1]
    )
