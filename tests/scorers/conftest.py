"""What all tests of scorers share."""

import pytest
import torch
from helpers.models import random_model


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads only wait for each other at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return random_model("qwen3")
