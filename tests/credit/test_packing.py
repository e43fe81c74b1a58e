"""Rows that hold several sequences: taken apart and put back, with the weights of the plain way."""

import pytest
import torch

from flowtracer.credit import Credit, Selection, sequence_credit
from flowtracer.credit.packing import packing_of
from flowtracer.scorers.responses import is_structural

LENGTHS = (5, 1, 8, 3)


def packed_ids():
    return torch.arange(100, 117)[None]


def bounds():
    return torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)])


def restarting():
    return torch.cat([torch.arange(length) for length in LENGTHS])[None]


@pytest.mark.parametrize("told", ["bounds", "positions"])
def test_sequences_are_taken_apart_and_put_back(told):
    ids = packed_ids()
    layout = {"cu_seq_lens": bounds()} if told == "bounds" else {"position_ids": restarting()}
    packing = packing_of(ids, **layout)
    rows = packing.unpack(ids)
    for row, expected in zip(rows, ids[0].split(LENGTHS), strict=True):
        assert row.tolist() == expected.tolist() + [0] * (8 - len(expected))
    assert torch.equal(packing.real.sum(1), torch.tensor(LENGTHS))
    assert torch.equal(packing.pack(rows), ids)
    assert torch.equal(packing.unpack(ids.bool()), packing.real)


def test_padding_belongs_to_no_sequence_and_rows_are_their_own():
    ids = torch.arange(12).view(2, 6)
    mask = torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 0, 1, 1, 1]])
    positions = torch.tensor([[0, 0, 1, 0, 1, 1], [2, 3, 3, 4, 0, 1]])
    packing = packing_of(ids, position_ids=positions, attention_mask=mask)
    rows = [row[real].tolist() for row, real in zip(packing.unpack(ids), packing.real, strict=True)]
    assert rows == [[1, 2], [3, 4], [6, 7, 9], [10, 11]]
    weights = packing.pack(torch.full((4, 3), 2.0), fill=1.0)
    assert torch.equal(weights, 1.0 + mask)


def test_an_empty_sequence_keeps_its_place_in_the_order():
    packing = packing_of(torch.arange(4)[None], cu_seq_lens=torch.tensor([0, 2, 2, 4]))
    assert packing.real.sum(1).tolist() == [2, 0, 2]


def test_no_token_at_all_gives_no_sequence():
    ids = torch.zeros(2, 3, dtype=torch.long)
    packing = packing_of(ids, position_ids=ids, attention_mask=ids)
    assert packing.unpack(ids).shape == (0, 0)
    assert packing.pack(torch.zeros(0, 0), fill=1.0).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ({}, "one of them"),
        ({"cu_seq_lens": [0, 17], "position_ids": [[0] * 17]}, "one of them"),
        ({"position_ids": [[0] * 16]}, r"position_ids has shape \(1, 16\)"),
        ({"cu_seq_lens": [0, 16]}, "0 to the number of tokens, 17"),
        ({"cu_seq_lens": [1, 17]}, "0 to the number of tokens, 17"),
        ({"cu_seq_lens": [0, 9, 5, 17]}, "0 to the number of tokens, 17"),
        ({"cu_seq_lens": [[0, 17]]}, "0 to the number of tokens, 17"),
    ],
)
def test_bounds_that_do_not_fit_are_refused(layout, told):
    with pytest.raises(ValueError, match=told):
        packing_of(packed_ids(), **{name: torch.tensor(value) for name, value in layout.items()})
    with pytest.raises(ValueError, match="one row of tokens, but input_ids has 2"):
        packing_of(torch.zeros(2, 17), cu_seq_lens=bounds())


def rollouts(tokenizer):
    """Ids and response mask of sequences of one prompt, one without an answer, one with tool output."""
    prompt = "Make 33 from 3, 7, 18.\n"
    tried = "18 + 7 = 25, 25 + 3 = 28, not 33.\n"
    solved = "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}"
    rows = []
    for response in (solved, tried + solved, tried, tried * 3 + solved):
        parts = [tokenizer.encode(part) for part in (prompt, response)]
        own = [0] * len(parts[0]) + [1] * len(parts[1])
        rows.append((torch.tensor(parts[0] + parts[1]), torch.tensor(own)))
    rows[3][1][30:40] = 0
    return rows


@pytest.mark.parametrize("told", ["bounds", "positions", "two rows"])
@pytest.mark.parametrize("credit", [Credit(), Credit(selection=Selection(among="structural"))])
def test_weights_of_packed_rows_are_those_of_the_plain_way(embedded, told, credit):
    rows = rollouts(embedded.tokenizer)
    options = {"credit": credit}
    alone = [
        sequence_credit(embedded.model, embedded.tokenizer, ids[None], own[None], **options)
        for ids, own in rows
    ]
    assert [bool(single.scored) for single in alone] == [True, True, False, True]
    assert all((single.weights == 1.5).any() for single in alone if single.scored)
    ids, own = (torch.cat(part)[None] for part in zip(*rows, strict=True))
    positions = torch.cat([torch.arange(len(tokens)) for tokens, _ in rows])[None]
    weights = torch.cat([single.weights for single in alone], 1)
    if told == "bounds":
        lengths = torch.tensor([0] + [len(tokens) for tokens, _ in rows])
        options["cu_seq_lens"] = lengths.cumsum(0).int()
    else:
        options["position_ids"] = positions
    if told == "two rows":  # the second one ends in padding
        middle = len(rows[0][0]) + len(rows[1][0])
        width = max(middle, ids.shape[1] - middle)
        halves = [ids, own, positions, weights, torch.ones_like(ids)]
        ids, own, options["position_ids"], weights, mask = (
            torch.stack([padded(tensor[0, :middle], width), padded(tensor[0, middle:], width)])
            for tensor in halves
        )
        options["attention_mask"] = mask
        weights = torch.where(mask > 0, weights, 1.0)
    packed_credit = sequence_credit(embedded.model, embedded.tokenizer, ids, own, **options)
    assert torch.equal(packed_credit.weights, weights)
    assert torch.equal(packed_credit.scored, torch.cat([single.scored for single in alone]))
    assert not packed_credit.chosen[own == 0].any()


def padded(values, width):
    return torch.nn.functional.pad(values, (0, width - len(values)))


def test_only_masked_in_sequences_of_a_packed_row_get_weights(embedded):
    rows = rollouts(embedded.tokenizer)
    ids, own = (torch.cat(part)[None] for part in zip(*rows, strict=True))
    credit = sequence_credit(
        embedded.model,
        embedded.tokenizer,
        ids,
        own,
        position_ids=torch.cat([torch.arange(len(tokens)) for tokens, _ in rows])[None],
        row_mask=torch.tensor([False, True, True, False]),
    )
    start, stop = len(rows[0][0]), len(rows[0][0]) + len(rows[1][0])
    assert (credit.weights[:, start:stop] == 1.5).any()
    assert (credit.weights[:, :start] == 1).all()
    assert (credit.weights[:, stop:] == 1).all()


def test_a_mask_of_another_shape_is_refused(embedded):
    ids = torch.ones(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"response_mask has shape \(1, 3\)"):
        sequence_credit(embedded.model, embedded.tokenizer, ids, ids[:, :3])
    with pytest.raises(ValueError, match="do not say what the user wrote"):
        sequence_credit(
            embedded.model, embedded.tokenizer, ids, ids, credit=Credit(question="user")
        )


def test_padding_alone_has_weight_1(embedded):
    ids = torch.ones(2, 4, dtype=torch.long)
    for more in ({}, {"position_ids": torch.arange(4).expand(2, -1)}):
        credit = sequence_credit(
            embedded.model, embedded.tokenizer, ids, ids, attention_mask=ids * 0, **more
        )
        assert torch.equal(credit.weights, torch.ones(2, 4))


def test_ids_beyond_the_tokenizer_are_no_delimiters():
    delimiters = torch.tensor([True, False, True])
    ids = torch.tensor([[0, 1, 2, 3, 90]])
    assert is_structural(delimiters, ids).tolist() == [[True, False, True, False, False]]
