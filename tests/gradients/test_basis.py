"""Which rules need no backward pass of their own."""

import pytest
import torch

from flowtracer.gradients.basis import independent_rows


def planted(rank=5, count=400, seed=0):
    return torch.randn(rank, count, generator=torch.Generator().manual_seed(seed))


def assert_made_of_basis(rows, basis, mix):
    made = mix @ rows[basis].double()
    error = (made - rows.double()).norm(dim=1)
    assert bool((error <= 1e-6 * rows.norm(dim=1)).all())
    assert torch.equal(mix[basis], torch.eye(len(basis), dtype=mix.dtype))


def test_rows_that_are_sums_of_others_are_found():
    own = planted()
    rows = torch.cat([own, own[:1] * 3, own[1:2] - 0.5 * own[2:3], own.sum(0, keepdim=True)])
    basis, mix = independent_rows(rows)
    assert len(basis) == 5 and basis == sorted(basis)
    assert_made_of_basis(rows, basis, mix)


def test_weights_of_one_selection_span_two_dimensions():
    chosen = torch.rand(300, generator=torch.Generator().manual_seed(0)) < 0.4
    advantage = torch.randn(300, generator=torch.Generator().manual_seed(1))
    rows = torch.stack(
        [torch.where(chosen, emphasis, 1.0) * advantage for emphasis in (1, 0.5, 1.5, 2, 3)]
        + [torch.where(~chosen, 1.5, 1.0) * advantage]
    )
    basis, mix = independent_rows(rows)
    assert len(basis) == 2
    assert_made_of_basis(rows, basis, mix)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-5])
def test_rows_that_are_nearly_sums_of_others_are_kept(distance):
    own = planted(3)
    near = own[:1] + own[1:2] + distance * planted(1, seed=9)
    basis, mix = independent_rows(torch.cat([own, near]))
    assert basis == [0, 1, 2, 3] and torch.equal(mix, torch.eye(4, dtype=mix.dtype))


def test_a_sum_in_which_large_terms_cancel_is_kept():
    """The difference of two rows that are almost the same would be made of their rounding errors."""
    base, difference = planted(2)
    rows = torch.stack([base, base + 1e-4 * difference, difference])
    basis, mix = independent_rows(rows)
    assert_made_of_basis(rows, basis, mix)
    assert float((mix * rows[basis].norm(dim=1) / rows.norm(dim=1)[:, None]).abs().sum(1).max()) < 3


def test_scale_does_not_matter_and_rows_of_zeros_are_in_no_basis():
    rows = torch.cat([planted(2) * torch.tensor([[1e-9], [1e6]]), torch.zeros(1, 400)])
    basis, mix = independent_rows(rows)
    assert basis == [0, 1] and not bool(mix[2].any())
    assert independent_rows(torch.zeros(3, 7))[0] == []
    assert independent_rows(torch.zeros(3, 0))[1].shape == (3, 0)
