"""Responses as a scorer takes them, and checkpoints for it."""

import random

from helpers.responses import GOOD, NO_BOX, SHORT

PROMPT = "<|user|>Make 33 from {a}, 7, 18.<|end|><|assistant|>"


def token_rows(loaded, count=6, seed=0):
    """Token ids without padding, of several lengths, and the lengths of their prompts."""
    draw = random.Random(seed)
    ids, lengths = [], []
    for number in range(count):
        prompt = PROMPT.format(a=number // 2 % 9 + 1)
        tried = "18 + 7 = 25, 25 + 3 = 28, not 33.\n" * draw.randint(0, 3)
        asked, given = (
            loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt, tried + (GOOD, SHORT, NO_BOX)[number % 3])
        )
        ids.append([*asked, *given])
        lengths.append(len(asked))
    return ids, lengths


def save_checkpoint(loaded, folder, *, scale=1.0):
    """The model in a folder; its first layer's queries are scaled, so that its weights differ."""
    weight = loaded.model.model.layers[2].self_attn.q_proj.weight
    before = weight.detach().clone()
    weight.data *= scale
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    weight.data.copy_(before)
    return folder
