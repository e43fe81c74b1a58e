"""Weights of verl's jagged batches: tensors in, tensors out, nothing of verl is needed here.

verl hands a micro batch to its workers as nested tensors: a row is prompt and response without padding,
`response_mask` has one entry for each response token and is 0 at tool output.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from flowtracer.credit import Credit, ScoreBatch, score_batch, structural_vocabulary, token_credit


def nested_weights(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Tensor,
    response_mask: Tensor,
    credit: Credit,
    *,
    same_everywhere: Callable[[int], int] = lambda forwards: forwards,
) -> Tensor:
    """Weight of every token of prompt and response, jagged as `input_ids`, float32; prompts have 1.

    Shapes: input_ids jagged (B, P + C), response_mask jagged (B, C). The model is read by a forward
    pass of its own on the padded rows, not inside verl's packed one: there attention may be a fused
    kernel whose probabilities nobody sees, and a row of the batch is not a row of the tensor.
    """
    batch = padded_batch(tokenizer, input_ids, response_mask, credit)
    given = token_credit(model, batch, credit, same_everywhere=same_everywhere)
    lengths = _offsets(input_ids).diff().tolist()
    starts = _starts(input_ids, response_mask)
    rows = []
    for place, (length, prompt) in enumerate(zip(lengths, starts, strict=True)):
        first = max(starts) - prompt  # prompts are padded on the left
        rows.append(given.weights[place, first : first + length].to(input_ids.device))
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def padded_batch(
    tokenizer: PreTrainedTokenizerBase, input_ids: Tensor, response_mask: Tensor, credit: Credit
) -> ScoreBatch:
    """The jagged rows as a batch to score: prompts padded on the left, responses on the right."""
    rows = [row.cpu() for row in input_ids.unbind()]
    own = [mask.cpu().long() for mask in response_mask.unbind()]
    starts = _starts(input_ids, response_mask)
    prompt, response = max(starts), max(map(len, own))
    ids = torch.zeros(len(rows), prompt + response, dtype=torch.long)
    real, candidate = torch.zeros_like(ids), torch.zeros_like(ids)
    for place, (row, mask, start) in enumerate(zip(rows, own, starts, strict=True)):
        columns = slice(prompt - start, prompt - start + len(row))
        ids[place, columns] = row
        real[place, columns] = 1
        candidate[place, prompt : prompt + len(mask)] = mask
    return score_batch(
        tokenizer,
        prompt_ids=ids[:, :prompt],
        prompt_mask=real[:, :prompt],
        completion_ids=ids[:, prompt:],
        completion_mask=real[:, prompt:],
        tool_mask=candidate[:, prompt:],
        answer=credit.answer,
        delimiters=structural_vocabulary(tokenizer) if credit.needs_structure else None,
    )


def weighted(advantages: Tensor, weights: Tensor, response_mask: Tensor) -> Tensor:
    """Advantages times the weights of their tokens, jagged (B, C); masked tokens keep theirs.

    Shapes: advantages jagged (B, C), weights jagged (B, P + C) unshifted (token t at place t), unlike
    verl's log-probabilities, response_mask jagged (B, C).
    """
    rows = []
    parts = zip(advantages.unbind(), weights.unbind(), response_mask.unbind(), strict=True)
    for advantage, weight, mask in parts:
        own = weight[len(weight) - len(mask) :].to(advantage)
        rows.append(advantage * torch.where(mask.bool(), own, 1.0))
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def summary(weights: Tensor, response_mask: Tensor) -> dict[str, float]:
    """What to log: mean weight and share above 1 of the responses' own tokens, rows without credit."""
    above = total = plain = 0
    summed = 0.0
    rows = list(zip(weights.unbind(), response_mask.unbind(), strict=True))
    for weight, mask in rows:
        own = weight[len(weight) - len(mask) :][mask.bool().to(weight.device)]
        total += len(own)
        above += int((own > 1).sum())
        summed += float(own.sum())
        plain += bool((own == 1).all())
    return {
        "credit/selected": above / max(total, 1),
        "credit/mean_weight": summed / max(total, 1),
        "credit/no_credit": plain / max(len(rows), 1),
    }


def _starts(input_ids: Tensor, response_mask: Tensor) -> list[int]:
    """Prompt tokens of each row."""
    starts: list[int] = (_offsets(input_ids).diff() - _offsets(response_mask).diff()).tolist()
    return starts


def _offsets(jagged: Tensor) -> Tensor:
    """Where the rows of a jagged tensor begin, (B + 1,)."""
    found: Tensor = jagged.offsets()  # type: ignore[attr-defined]
    return found
