"""Tiny random models that take pictures, and batches of rows with pictures of several sizes or none."""

import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma4Config,
    Idefics3Config,
    InternVLConfig,
    LlamaConfig,
    LlavaConfig,
    Mistral3Config,
    MistralConfig,
    PixtralVisionConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen3_5Config,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
    SmolVLMConfig,
)

from flowtracer.models.pictures import model_inputs
from helpers.models import SIZE, randomized

TOKENS = {"image_token_id": 90, "video_token_id": 91, "vision_start_token_id": 92,
          "vision_end_token_id": 93}  # fmt: skip
TOWER = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "patch_size": 4}
QWEN = {**TOWER, "num_heads": 2, "out_hidden_size": 64}
SQUARE = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 2, "image_size": 16}  # fmt: skip
GRID3 = {**QWEN, "num_position_embeddings": 64}
FEW_HEADS = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
             "linear_value_head_dim": 16}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3]}
CONFIGS = {
    "qwen2_vl": Qwen2VLConfig(
        text_config={**SIZE, "rope_scaling": ROPE},
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
        vision_config={**GRID3, "deepstack_visual_indexes": [0, 1]}, **TOKENS,
    ),
    "gemma3": Gemma3Config(
        text_config={**SIZE, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
        vision_config={**SQUARE, "patch_size": 4},
        mm_tokens_per_image=4, image_token_id=90, boi_token_index=92, eoi_token_index=93,
    ),
    "gemma4": Gemma4Config(
        text_config={**SIZE, "head_dim": 16, "global_head_dim": 16, "sliding_window": 8,
                     "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 97,
                     "num_kv_shared_layers": 0, "use_bidirectional_attention": "vision"},
        vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                       "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
                       "patch_size": 4, "pooling_kernel_size": 2, "position_embedding_size": 16},
        audio_config=None, image_token_id=90, video_token_id=91, boi_token_id=92, eoi_token_id=93,
    ),
    "qwen3_vl_moe": Qwen3VLMoeConfig(
        text_config={**SIZE, "head_dim": 16, "rope_scaling": ROPE, **EXPERTS},
        vision_config={**GRID3, "deepstack_visual_indexes": [0, 1]}, **TOKENS,
    ),
    "qwen3_5": Qwen3_5Config(
        text_config={**SIZE, "head_dim": 16, "rope_scaling": ROPE, **FEW_HEADS,
                     "layer_types": ["linear_attention", "full_attention"] * 3},
        vision_config=GRID3, **TOKENS,
    ),
    "llava": LlavaConfig(
        vision_config=CLIPVisionConfig(**SQUARE, patch_size=8), text_config=LlamaConfig(**SIZE),
        image_token_id=90,
    ),
    "mistral3": Mistral3Config(
        vision_config=PixtralVisionConfig(**SQUARE, patch_size=8, head_dim=16),
        text_config=MistralConfig(**SIZE, head_dim=16), image_token_id=90, spatial_merge_size=1,
    ),
    "internvl": InternVLConfig(
        vision_config={**SQUARE, "image_size": [16, 16], "patch_size": [4, 4]},
        text_config=Qwen2Config(**SIZE), image_token_id=90, downsample_ratio=0.5,
    ),
    "smolvlm": SmolVLMConfig(
        vision_config={**SQUARE, "patch_size": 4}, text_config=LlamaConfig(**SIZE),
        image_token_id=90, scale_factor=2,
    ),
    "idefics3": Idefics3Config(
        vision_config={**SQUARE, "patch_size": 4}, text_config=LlamaConfig(**SIZE),
        image_token_id=90, scale_factor=2,
    ),
}  # fmt: skip
# Grids (patches) of each row's pictures: two of different sizes, none, one.
GRIDS = (((1, 4, 4), (1, 4, 8)), (), ((1, 8, 4),))
LENGTH = 32


def picture_model(name):
    """Weights large enough that attention is far from uniform and that pictures matter."""
    return randomized(AutoModelForImageTextToText, CONFIGS[name], 0.2)


def picture_rows(name, *, padding="left", grids=GRIDS):
    """Ids and mask (rows, LENGTH), and what a processor would give beside them."""
    generator = torch.Generator().manual_seed(1)
    by_grid, padded = name.startswith("qwen"), name == "gemma4"
    ids = torch.randint(3, 80, (len(grids), LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    pixels = [[] for _ in grids]
    for row, of_row in enumerate(grids):
        column = 7
        for t, h, w in of_row:
            count = t * h * w // 4 if by_grid or padded else 4
            ids[row, column] = 92
            ids[row, column + 1 : column + 1 + count] = 90
            ids[row, column + 1 + count] = 93
            column += count + 3
            shape = (t * h * w, 3 * 2 * 4 * 4) if by_grid else (1, 3, 16, 16)
            shape = (1, 40, 3 * 4 * 4) if padded else shape
            pixels[row].append(torch.randn(shape, generator=generator))
    if padding == "left":
        for row in range(len(grids)):
            mask[row, : 2 * row] = 0
    if padding == "right":
        mask[0, -6:] = 0
    processed = {"pixel_values": torch.cat([part for of_row in pixels for part in of_row])}
    if name in ("smolvlm", "idefics3"):  # as many pictures in every row, the missing ones black
        processed["pixel_values"] = torch.zeros(len(grids), max(map(len, grids)), 3, 16, 16)
        for row, of_row in enumerate(pixels):
            for number, part in enumerate(of_row):
                processed["pixel_values"][row, number] = part[0]
    if name == "mistral3":
        processed["image_sizes"] = torch.tensor([[16, 16]] * len(processed["pixel_values"]))
    if by_grid:
        processed["image_grid_thw"] = torch.tensor([grid for of_row in grids for grid in of_row])
        processed["mm_token_type_ids"] = (ids == 90).long()
    if padded:
        positions = torch.full((len(processed["pixel_values"]), 40, 2), -1)
        for number, (_, h, w) in enumerate(grid for of_row in grids for grid in of_row):
            patch = torch.arange(h * w)
            positions[number, : h * w] = torch.stack([patch % w, patch // w], 1)
        processed["image_position_ids"] = positions
        processed["mm_token_type_ids"] = (ids == 90).long()
    if name == "gemma3":
        processed["token_type_ids"] = (ids == 90).long()
    return ids, mask, processed


def eager_of_row(model, ids, mask, processed, row):
    """Attention by layer for the real tokens of one row alone, (heads, n, n) each."""
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
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ["attention"] * 6
    softmax = [number for number, kind in enumerate(kinds) if kind != "linear_attention"]
    kept = zip(softmax, output.attentions, strict=True)
    return {number: layer[0].float() for number, layer in kept}
