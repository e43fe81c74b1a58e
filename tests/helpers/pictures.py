"""Tiny random models that take pictures, and batches of rows with pictures of several sizes or none."""

import torch
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3VLConfig,
)

from flowtracer.models.pictures import model_inputs
from helpers.models import SIZE

TOKENS = {"image_token_id": 90, "video_token_id": 91, "vision_start_token_id": 92,
          "vision_end_token_id": 93}  # fmt: skip
TOWER = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "patch_size": 4}
QWEN = {**TOWER, "num_heads": 2, "out_hidden_size": 64}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3]}
CONFIGS = {
    "qwen2_vl": Qwen2VLConfig(
        text_config={**SIZE, "rope_scaling": {**ROPE, "rope_type": "default"}},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 1,
                       "patch_size": 4},
        **TOKENS,
    ),
    "qwen2_5_vl": Qwen2_5_VLConfig(
        text_config={**SIZE, "rope_scaling": ROPE},
        vision_config={**QWEN, "window_size": 16, "fullatt_block_indexes": [1]},
        **TOKENS,
    ),
    "qwen3_vl": Qwen3VLConfig(
        text_config={**SIZE, "head_dim": 16, "rope_scaling": ROPE},
        vision_config={**QWEN, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
        **TOKENS,
    ),
    "gemma3": Gemma3Config(
        text_config={**SIZE, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
        vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                       "num_attention_heads": 2, "image_size": 16, "patch_size": 4},
        mm_tokens_per_image=4, image_token_id=90, boi_token_index=92, eoi_token_index=93,
    ),
}  # fmt: skip
# Grids (patches) of each row's pictures: two of different sizes, none, one.
GRIDS = (((1, 4, 4), (1, 4, 8)), (), ((1, 8, 4),))
LENGTH = 32


def picture_model(name):
    """Weights large enough that attention is far from uniform and that pictures matter."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(CONFIGS[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim > 1 else 1.0)
    return model


def picture_rows(name, *, padding="left", grids=GRIDS):
    """Ids and mask (rows, LENGTH), and what a processor would give beside them."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 80, (len(grids), LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    pixels = []
    for row, of_row in enumerate(grids):
        column = 7
        for t, h, w in of_row:
            count = 4 if name == "gemma3" else t * h * w // 4
            ids[row, column] = 92
            ids[row, column + 1 : column + 1 + count] = 90
            ids[row, column + 1 + count] = 93
            column += count + 3
            shape = (1, 3, 16, 16) if name == "gemma3" else (t * h * w, 3 * 2 * 4 * 4)
            pixels.append(torch.randn(shape, generator=generator))
    if padding == "left":
        for row in range(len(grids)):
            mask[row, : 2 * row] = 0
    if padding == "right":
        mask[0, -6:] = 0
    processed = {"pixel_values": torch.cat(pixels)} if pixels else {}
    types = (ids == 90).long()
    if name == "gemma3":
        return ids, mask, {**processed, "token_type_ids": types}
    if pixels:
        processed["image_grid_thw"] = torch.tensor([grid for of_row in grids for grid in of_row])
    return ids, mask, {**processed, "mm_token_type_ids": types}


def eager_of_row(model, ids, mask, processed, row):
    """Attention of every layer for the real tokens of one row alone, a list of (heads, n, n)."""
    real = mask[row] > 0
    own = model_inputs(model, processed, ids).take(torch.tensor([row]))
    own = own.arguments(ids.device)
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in own:
            own[name] = own[name][:, real]
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        output = model(
            input_ids=ids[row, real][None], **own, output_attentions=True, use_cache=False
        )
    model.set_attn_implementation(before)
    return [layer[0].float() for layer in output.attentions]
