"""Rows kept between two readings: the same numbers, computed once where there is room."""

from dataclasses import dataclass

import pytest
import torch

from flowtracer import answer_flow
from flowtracer.flow.kept import KeptRows
from flowtracer.flow.solve import BLOCK

LENGTH = 2 * BLOCK + 40


@dataclass
class Rows:
    """A matrix that counts the rows it gives and what it is told."""

    matrix: torch.Tensor
    room: int
    returned: int = 0
    told: int = 0
    shape = torch.Size([1, LENGTH, LENGTH])
    dtype = torch.float32
    device = torch.device("cpu")

    def rows(self, start, stop):
        self.returned += stop - start
        self.computed(stop - start)
        return self.matrix[:, start:stop, :stop].clone()

    def computed(self, rows):
        self.told += rows


def masks():
    question, answer = torch.zeros(1, LENGTH, dtype=torch.bool), torch.zeros(1, LENGTH)
    question[:, :50], answer[:, -9:-2] = True, 1.0
    return question, answer


def attention():
    logits = torch.randn(1, LENGTH, LENGTH, generator=torch.Generator().manual_seed(0))
    return logits.masked_fill(torch.ones(LENGTH, LENGTH).triu(1).bool(), -torch.inf).softmax(-1)


@pytest.mark.parametrize(
    ("room", "computed"),
    [(0, 2 * LENGTH), (1 << 30, LENGTH), (4 * 40 * LENGTH, 2 * LENGTH - 40)],
    ids=["none", "all", "the last rows"],
)
def test_flow_is_the_same_and_kept_rows_are_not_computed_again(room, computed):
    matrix = attention()
    rows = Rows(matrix, room)
    kept = answer_flow(rows, *masks())
    torch.testing.assert_close(kept.throughput, answer_flow(matrix, *masks()).throughput)
    # Checks of a graph may read all rows once more.
    checked = Rows(matrix, 0)
    answer_flow(checked, *masks())
    assert rows.returned == checked.returned - (2 * LENGTH - computed)
    assert rows.told == checked.told  # progress reaches its end


def test_nothing_is_kept_after_both_readings():
    kept = KeptRows(Rows(attention(), 0), 1 << 30)
    first = kept.rows(0, 30)
    assert kept.room < 1 << 30
    assert kept.rows(0, 30) is first and kept.room == 1 << 30
