"""From sampled token ids to a batch that can be scored: where the answers and the delimiters are."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.credit.batch import ScoreBatch
from flowtracer.regions import (
    answer_weights,
    decode_all_with_offsets,
    decode_with_offsets,
    user_spans,
)
from flowtracer.regions.prompts import Message
from flowtracer.regions.tokens import token_weights


def score_batch(
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    tool_mask: Tensor | None = None,
    answer: str = "boxed",
    users: Sequence[Sequence[Message]] | None = None,
    delimiters: Tensor | None = None,
) -> ScoreBatch:
    """Prompt and completion (B, P) and (B, C) as sequences of P + C tokens.

    tool_mask: (B, C), 0 at tool output, which is part of the graph but never a candidate nor an
    answer. answer: the rule of `find_answer`. users: the conversations, if flow is to enter at the
    user's messages only. delimiters: `structural_vocabulary`, (V,), if they have to be known.
    """
    own = completion_mask.bool() if tool_mask is None else (completion_mask * tool_mask).bool()
    nothing = torch.zeros_like(prompt_mask, dtype=torch.bool)
    question = prompt_mask.bool()
    if users is not None:
        question = question & user_tokens(tokenizer, prompt_ids, prompt_mask, users)
    input_ids = torch.cat([prompt_ids, completion_ids], 1)
    return ScoreBatch(
        input_ids=input_ids,
        attention_mask=torch.cat([prompt_mask, completion_mask], 1),
        question=torch.cat([question, torch.zeros_like(own)], 1),
        candidates=torch.cat([nothing, own], 1),
        answer=torch.cat(
            [
                nothing.float(),
                answer_tokens(tokenizer, completion_ids, completion_mask, answer) * own,
            ],
            1,
        ),
        structural=None if delimiters is None else delimiters.to(input_ids.device)[input_ids],
    )


def answer_tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Tensor, mask: Tensor, rule: str
) -> Tensor:
    """Weight of each completion token as answer, (B, C) float; a row without an answer is all 0."""
    weights = torch.zeros(ids.shape, dtype=torch.float32)
    special = set(tokenizer.all_special_ids)
    places: list[list[int]] = []
    texts: list[list[int]] = []
    for tokens, real in zip(ids.tolist(), mask.tolist(), strict=True):
        kept = [place for place, one in enumerate(real) if one]
        while kept and tokens[kept[-1]] in special:  # an end-of-text token is not a last line
            kept.pop()
        places.append(kept)
        texts.append([tokens[place] for place in kept])
    for row, text in enumerate(decode_all_with_offsets(tokenizer, texts)):
        if text.ids:
            weights[row, places[row]] = answer_weights(rule, text)
    return weights.to(ids.device)


def user_tokens(
    tokenizer: PreTrainedTokenizerBase,
    ids: Tensor,
    mask: Tensor,
    conversations: Sequence[Sequence[Message]],
) -> Tensor:
    """Prompt tokens that the user wrote, (B, P) bool; all of the prompt where they cannot be found."""
    found = torch.zeros(ids.shape, dtype=torch.bool)
    for row, messages in enumerate(conversations):
        kept = mask[row].nonzero()[:, 0].tolist()
        text = decode_with_offsets(tokenizer, ids[row, kept].tolist())
        inside = token_weights(user_spans(text.text, messages), text.offsets) > 0
        found[row, kept] = inside if bool(inside.any()) else torch.ones_like(inside)
    return found.to(ids.device)


def structural_vocabulary(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Which token ids are delimiters, (V,) bool: their text has no letter and no digit."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return torch.tensor([not any(mark.isalnum() for mark in text) for text in texts])
