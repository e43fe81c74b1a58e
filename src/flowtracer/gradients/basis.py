"""Rules whose coefficients are sums of others': a gradient is linear in them, so theirs is that sum too."""

import torch
from torch import Tensor

TOLERANCE = 4 * torch.finfo(torch.float32).eps  # our choice: what rounding weights leaves
GROWTH = 100.0  # our choice: how much a sum may enlarge the rounding errors of its terms


def independent_rows(rows: Tensor) -> tuple[list[int], Tensor]:
    """A basis chosen from the rows, and the others as linear combinations of it.

    rows: (R, n). Returns the indices of K rows, rising, and (R, K) float64 with `rows = mix @ rows[basis]`
    to `TOLERANCE` of each row's length. A row that is only nearly a sum of others is in the basis, and
    so is one in which large terms cancel; rows of the basis are themselves, and rows of zeros are in none.

    Pivoted Gram-Schmidt, in float64: the row that the basis explains least comes next.
    """
    rows = rows.double()
    length = rows.norm(dim=1)
    unit = rows / length.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    residual = unit.clone()
    basis: list[int] = []
    while len(basis) < len(rows):
        left = residual.norm(dim=1)
        next_row = int(left.argmax())
        if left[next_row] <= TOLERANCE:
            break
        basis.append(next_row)
        direction = residual[next_row] / left[next_row]
        for _ in range(2):  # once more for the rounding of the first time
            residual -= (residual @ direction)[:, None] * direction
    if not basis:
        return [], rows.new_zeros(len(rows), 0)
    mix = torch.linalg.lstsq(unit[basis].T, unit.T).solution.T
    missed = (unit - mix @ unit[basis]).norm(dim=1) > TOLERANCE
    own = missed | (mix.abs().sum(1) > GROWTH)
    own[basis] = True
    kept = own.nonzero()[:, 0].tolist()
    result = rows.new_zeros(len(rows), len(kept))
    order = [kept.index(row) for row in basis]
    result[:, order] = mix * length[:, None] / length[basis]
    result[kept] = torch.eye(len(kept), dtype=rows.dtype, device=rows.device)
    return kept, result
