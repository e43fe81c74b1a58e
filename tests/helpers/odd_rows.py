"""Random responses, ordinary and broken, as batches of token ids."""

import torch

PIECES = [
    "the answer is ", "Answer: ", "so the an\u017fwer is ", "**Answer:** B", "option C", "(D)", "A",
    "\\boxed{", "\\boxed {", "\\\\boxed{", "\\{", "\\}", "{", "}", "\\", "12", " \\frac{1}{2}",
    "#### 7", "####", "\nB\n", "\n\n", "\n", "  ", "\t", ". ", ", ", "word", " the", "banana",
    "<answer>", "</answer>", "<think>", "</think>", "[THINK]", "[/THINK]", "<thinking>", "think",
    "\U0001f642", " \U0001f642", " \U0001f643 x", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "日本語", " 𒀀", "\u0f00", "שלום", "né", "e\u0301", "\u212b", "\u1100\u1161", "\u0130", "\u0131",
    "\ufffd", "\u2581", "\x00", "\x04", "\x7f", "\u202e", "<0xE2>", "Ġ",
]  # fmt: skip
BRACES = ["\\boxed{", "\\boxed {", "\\\\boxed{", "\\{", "\\}", "{", "}", "}", "\\", " ", "1"]


def odd_text(draw, most=14, pieces=PIECES):
    return "".join(draw.choice(pieces) for _ in range(draw.randint(0, most)))


def odd_ids(tokenizer, draw):
    """Ids of a text: as the tokenizer writes it, in pieces, with tokens of its own, or cut off."""
    size = len(tokenizer)
    text, kind = odd_text(draw), draw.randrange(5)
    if kind == 0:
        ids = [
            token
            for sign in text
            for token in tokenizer(sign, add_special_tokens=False)["input_ids"]
        ]
    else:
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    for _ in range(draw.choice([0, 0, 1, 3]) if kind in (0, 2, 3) else 0):
        at = draw.randint(0, len(ids))
        ids.insert(at, draw.choice([draw.randrange(size), *tokenizer.all_special_ids]))
    if kind == 3 and ids:
        del ids[draw.randrange(len(ids))]
    return ids[: draw.randint(0, len(ids))] if kind == 4 else ids


def odd_batch(tokenizer, draw, rows=6):
    """Ids, completion mask and response mask (B, T): prompts, some of which open a thought, and tools."""
    texts = []
    for _ in range(rows):
        asked = draw.choice(["Q", "Q <think>\n", "Q </think>", ""])
        prompt = list(tokenizer(asked, add_special_tokens=False)["input_ids"])
        response = odd_ids(tokenizer, draw)
        end = list(tokenizer.all_special_ids[:1]) * draw.randint(0, 2)
        texts.append((prompt, response + end))
    width = max(len(prompt) + len(response) for prompt, response in texts) + 1
    ids = torch.zeros(rows, width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(texts):
        start, stop = len(prompt), len(prompt) + len(response)
        ids[row, :stop] = torch.tensor(prompt + response, dtype=torch.long)
        mask[row, start:stop] = 1
    written = mask.clone()
    if draw.random() < 0.5:
        for row in range(rows):  # what tools wrote
            start = draw.randrange(width)
            written[row, start : start + draw.randint(0, 6)] = 0
    return ids, mask, written
