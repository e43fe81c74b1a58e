"""Pictures of a TRL batch: which tensors of it the model is called with, row by row."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from flowtracer.models.pictures import IMAGES, TYPES, ModelInputs, model_inputs

# Beside `trl.RELIED_ON`: what TRL calls the pictures of each row, and the parts that they are cut into.
COUNTS = ("num_images", "num_tiles")


def pictures_of(model: nn.Module, inputs: Mapping[str, Any]) -> ModelInputs | None:
    """Pictures in what TRL's generation returns or its loss gets; None where there are none.

    Pictures that cannot be assigned to rows cause a warning: the rows then get no credit.
    """
    if inputs.get("pixel_values") is None:
        return None
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    processed = {name: inputs.get(name) for name in (*IMAGES, *TYPES)}
    images, tiles = (inputs.get(name) for name in COUNTS)
    try:
        return model_inputs(model, processed, ids, images=images, tiles=tiles)
    except ValueError as error:  # nothing about a batch ends training
        warnings.warn(f"the pictures of a batch cannot be read: {error}", stacklevel=2)
        return None
