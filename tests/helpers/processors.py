"""Processors of two kinds, built offline with a tiny vocabulary, and tiny random models for them."""

import random

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3Processor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from helpers.models import SIZE

SPECIAL = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
           "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]  # fmt: skip
WORDS = "make the answer is a red blue green square what colour of in this picture . , ? 0 1 2 3 4 5 6 7"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for c in m['content'] %}{% if c['type'] == 'image' %}PICTURE"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
SMALL_TEXT = {**SIZE, "vocab_size": 64, "num_hidden_layers": 3}


class _Qwen(Qwen2_5_VLProcessor):
    """Without a processor of videos, which would need torchvision."""

    def check_argument_for_proper_class(self, name, value):
        return None


def tokenizer(**extra):
    words = [*SPECIAL, *WORDS.split(), "user", "assistant", "?."]
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="."))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="left",
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        **extra,
    )


def qwen_processor():
    images = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=1024)
    template = TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>")
    return _Qwen(images, tokenizer(), None, chat_template=template)


def gemma_processor():
    names = {"image_token": "<|image_pad|>", "boi_token": "<|vision_start|>",
             "eoi_token": "<|vision_end|>"}  # fmt: skip
    return Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 16, "width": 16}),
        tokenizer(extra_special_tokens=names),
        chat_template=TEMPLATE.replace("PICTURE", "<|vision_start|>"),
        image_seq_length=4,
    )


PROCESSORS = {"qwen2_5_vl": qwen_processor, "gemma3": gemma_processor}


def small_model(name):
    """A random model of three layers for the processor of this name."""
    vision = {"hidden_size": 32, "intermediate_size": 32, "patch_size": 4}
    if name == "gemma3":
        config = Gemma3Config(
            text_config={**SMALL_TEXT, "head_dim": 16, "query_pre_attn_scalar": 16},
            vision_config={**vision, "num_hidden_layers": 1, "num_attention_heads": 2,
                           "image_size": 16},
            mm_tokens_per_image=4, image_token_id=7, boi_token_index=5, eoi_token_index=6,
        )  # fmt: skip
    else:
        rope = {"rope_type": "default", "mrope_section": [2, 3, 3]}
        config = Qwen2_5_VLConfig(
            text_config={**SMALL_TEXT, "rope_scaling": rope},
            vision_config={**vision, "depth": 1, "num_heads": 2, "out_hidden_size": 64,
                           "window_size": 16, "fullatt_block_indexes": [0]},
            image_token_id=7, video_token_id=8, vision_start_token_id=5, vision_end_token_id=6,
        )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15) if parameter.ndim > 1 else None
    return model.eval()


def picture(seed, width=24, height=16):
    """Coloured squares."""
    chance = random.Random(seed)
    colours = [tuple(chance.randrange(256) for _ in range(3)) for _ in range(4)]
    small = Image.new("RGB", (2, 2))
    small.putdata(colours)
    return small.resize((width, height), Image.Resampling.NEAREST)
