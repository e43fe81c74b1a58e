"""What is known of the tokens of a batch with pictures."""

import pytest
import torch
from helpers.pictures import CONFIGS, picture_model, picture_rows

from flowtracer.models.pictures import model_inputs


@pytest.mark.parametrize("name", CONFIGS)
def test_tokens_in_pictures_are_known_of_every_model(name):
    """Of those too that take no types of tokens."""
    ids, _, processed = picture_rows(name)
    inputs = model_inputs(picture_model(name), processed, ids)
    assert torch.equal(inputs.in_pictures, ids == 90)
    rows, columns = torch.tensor([2, 0, 0]), slice(5, 20)
    taken = inputs.take(rows, columns).in_pictures
    assert torch.equal(taken, ids[rows, columns] == 90)
