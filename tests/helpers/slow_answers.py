"""Answers found by decoding and encoding whole responses: slow, and right by definition."""

import torch

from flowtracer.regions import (
    answer_weights,
    decode_all_with_offsets,
    decode_text,
    opened_thought,
)


def slow_find_answers(tokenizer, ids, completion_mask, response_mask, rule):
    """What `find_answers` returns, one token after another."""
    special = set(tokenizer.all_special_ids)
    weights = torch.zeros(ids.shape)
    for row, tokens in enumerate(ids.tolist()):
        written = response_mask[row].tolist()
        kept = [at for at, real in enumerate(completion_mask[row].tolist()) if real]
        while kept and (tokens[kept[-1]] in special or not written[kept[-1]]):
            kept.pop()
        if not kept:
            continue
        [text] = decode_all_with_offsets(tokenizer, [[tokens[at] for at in kept]])
        characters = list(text.text)
        by_policy = [bool(written[at]) for at in kept]
        for (start, stop), keep in zip(text.offsets, by_policy, strict=True):
            if not keep:
                characters[start:stop] = "\n" * (stop - start)
        prompt = decode_text(tokenizer, tokens[max(0, kept[0] - 16) : kept[0]])
        answer = answer_weights(
            rule, text._replace(text="".join(characters)), thinking=bool(opened_thought(prompt))
        )
        weights[row, kept] = answer * torch.tensor(by_policy)
    return weights
