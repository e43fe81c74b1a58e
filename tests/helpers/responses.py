"""Sampled responses of the embedded model's task."""

import torch


def sampled(loaded, texts, prompts=None, width=70):
    """A padded batch as a trainer has it: prompts on the left, completions on the right."""
    tokenizer = loaded.tokenizer
    prompts = prompts or ["<|user|>Make 33 from 3, 7, 18.<|end|><|assistant|>"] * len(texts)
    asked = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    completions = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    left = max(map(len, asked)) + 3
    pad = tokenizer.pad_token_id

    def tensor(rows, size, before):
        filled = [
            [pad] * (size - len(r)) + r if before else r + [pad] * (size - len(r)) for r in rows
        ]
        real = [
            [0] * (size - len(r)) + [1] * len(r) if before else [1] * len(r) + [0] * (size - len(r))
            for r in rows
        ]
        return torch.tensor(filled), torch.tensor(real)

    prompt_ids, prompt_mask = tensor(asked, left, True)
    completion_ids, completion_mask = tensor(completions, width, False)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
    }


GOOD = "18 + 7 = 25, 25 + 3 = 28, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>"


SHORT = "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>"


NO_BOX = "18 + 7 = 25, 25 + 3 = 28, not 33.\n"
