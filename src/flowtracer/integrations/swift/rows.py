"""From a micro-batch of ms-swift to rows of tokens, and from their weights to its completion columns.

swift keeps per-token values of the last `logits_to_keep` columns. With `padding_free` the batch is one
packed row, and its per-token values are padded again on the left; the rows made of it are padded alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from flowtracer.models.padding import pad_rows


@dataclass(frozen=True)
class Rows:
    """Sequences of prompt and response, (B, T) each."""

    input_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor  # 1 at tokens that the policy wrote


def rows_of(
    model_inputs: Mapping[str, Any], completion_mask: Tensor, *, padding_free: bool
) -> Rows:
    """The rows of a micro-batch whose completion columns have this mask (B, C)."""
    ids: Tensor = model_inputs["input_ids"]
    if padding_free:
        positions = model_inputs.get("text_position_ids")
        positions = model_inputs["position_ids"] if positions is None else positions
        bounds = [*(positions.reshape(-1) == 0).nonzero()[:, 0].tolist(), ids.shape[1]]
        lengths = [stop - start for start, stop in pairwise(bounds)]
        ids, mask = pad_rows(ids[0].split(lengths), left=True, device=ids.device)
    else:
        attention_mask = model_inputs.get("attention_mask")
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask
    return Rows(ids, mask, last_columns(completion_mask.long(), ids.shape[1], fill=0))


def last_columns(values: Tensor, width: int, *, fill: float) -> Tensor:
    """The last `width` columns of values (B, T), after columns of `fill` where there are fewer."""
    missing = width - values.shape[1]
    return pad(values, (missing, 0), value=fill) if missing > 0 else values[:, -width:]
