"""Every architecture of docs/models.md against transformers' eager attention, or refused by name."""

import warnings

import pytest
import torch
from helpers.architectures import READ, REFUSED, tiny_model
from helpers.ways import TOLERANCE, outcome, refusal, table_rows

from flowtracer.attention import AttentionCaptureError, mean_attention


@pytest.mark.parametrize("name", READ)
def test_an_architecture_is_read_as_the_table_says(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = outcome(name)
    assert measured.difference <= TOLERANCE
    row = table_rows()[name]
    assert float(row[4]) <= TOLERANCE
    assert [*row[:4], *row[5:]] == [*measured.cells[:4], *measured.cells[5:]]


@pytest.mark.parametrize("name", REFUSED)
def test_an_architecture_is_refused_as_the_table_says(name):
    model = tiny_model(name)
    with pytest.raises(AttentionCaptureError) as error:
        mean_attention(model, torch.ones(1, 4, dtype=torch.long))
    assert type(model).__name__ in str(error.value) or type(model.base_model).__name__ in str(
        error.value
    )
    assert table_rows()[name] == refusal(name, model, str(error.value))


def test_the_table_has_no_other_rows_and_at_least_30_are_read():
    assert list(table_rows()) == [*READ, *REFUSED]
    assert len(READ) >= 30
