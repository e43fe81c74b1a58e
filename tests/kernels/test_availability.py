"""Where the kernels run, and that whatever keeps them from it is said instead of raised."""

import pytest
import torch
from helpers.kernels import interpreted

from flowtracer.kernels.availability import kernels_everywhere, kernels_run, works
from flowtracer.kernels.trial import trial

CPU = torch.device("cpu")


def test_a_cpu_is_left_to_pytorch():
    assert not kernels_run(CPU)
    with kernels_everywhere():
        assert kernels_run(CPU)
    assert not kernels_run(CPU)


@interpreted
def test_the_trial_passes_where_the_kernels_run():
    trial(CPU)
    assert works(CPU)


@interpreted
def test_a_device_that_cannot_run_them_is_warned_of_once():
    nowhere = torch.device("meta")  # has no numbers to compare
    works.cache_clear()
    with pytest.warns(UserWarning, match="credit on meta takes PyTorch's way"):
        assert not works(nowhere)
    assert not works(nowhere)
