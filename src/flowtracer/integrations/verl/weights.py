"""From a worker's part of a batch to the weight of every response token.

verl keeps sequences of several lengths in jagged nested tensors, and its own forward packs them into
one row for flash attention. In a pass of its own the sequences are padded again and go through
`token_credit`, as in every other trainer: the lower two thirds of the layers, only rows whose advantage is
not zero, cut after their answer, in parts of similar length. Riding on verl's pass for
log-probabilities, sequences are found in it by their tokens; it comes before the advantages, so that all
of them are scored.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from flowtracer.credit import Credit, TokenCredit, score_batch, token_credit
from flowtracer.credit.summary import credit_sums
from flowtracer.models.padding import pad_rows
from flowtracer.regions import AnswerRule
from flowtracer.scorers.batch import ScoreBatch

# What the workers need, all jagged, (B, tokens of the prompt) or (B, tokens of the response); where credit
# rides on the pass for log-probabilities, advantages are not known yet.
FIELDS = ("prompts", "responses", "response_mask", "advantages")


def response_weights(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: dict[str, Tensor],
    credit: Credit,
    *,
    device: torch.device | str,
    all_reduce_max: Callable[[int], int] = lambda forwards: forwards,
    delimiters: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights of the response tokens, jagged like `data["responses"]`, and sums per response (B, 10).

    Tool output (`response_mask` 0) and everything that cannot be scored has weight 1. The sums are
    those of `flowtracer.credit.summary`.

    Args:
        data: the tensors named in `FIELDS`, jagged or not; without advantages all rows are scored.
        device: where the model is.
        all_reduce_max: see `token_credit`.
        delimiters: `structural_vocabulary`, if `credit.needs_structure`.
    """
    batch = padded_batch(
        tokenizer,
        data,
        answer=credit.answer,
        steps=credit.steps,
        delimiters=delimiters,
        device=device,
    )
    row_mask = torch.ones(len(batch.input_ids), dtype=torch.bool, device=device)
    if "advantages" in data:
        some = [bool(row.abs().sum() > 0) for row in data["advantages"].unbind()]
        row_mask = torch.tensor(some, device=device)
    result = token_credit(model, batch, credit, row_mask=row_mask, all_reduce_max=all_reduce_max)
    return of_responses(data, batch, result, row_mask)


def of_responses(
    data: dict[str, Tensor], batch: ScoreBatch, result: TokenCredit, row_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights of the response tokens, jagged, and sums per response (B, 10), of a padded batch's credit."""
    lengths = [len(row) for row in data["responses"].unbind()]
    start = batch.input_ids.shape[1] - max(lengths)
    return jagged(result.weights[:, start:], lengths), credit_sums(batch, result, row_mask)


def padded_batch(
    tokenizer: PreTrainedTokenizerBase,
    data: dict[str, Tensor],
    *,
    answer: AnswerRule,
    steps: AnswerRule | None = None,
    delimiters: Tensor | None,
    device: torch.device | str,
) -> ScoreBatch:
    """The sequences of a part of a batch, prompts padded on the left and responses on the right."""
    prompts, prompt_mask = pad_rows(data["prompts"].unbind(), left=True, device=device)
    responses, mask = pad_rows(data["responses"].unbind(), left=False, device=device)
    response_mask, _ = pad_rows(data["response_mask"].unbind(), left=False, device=device)
    return score_batch(
        tokenizer,
        prompt_ids=prompts,
        prompt_mask=prompt_mask,
        completion_ids=responses,
        completion_mask=mask,
        tool_mask=response_mask,
        answer=answer,
        steps=steps,
        delimiters=delimiters,
    )


def jagged(padded: Tensor, lengths: Sequence[int]) -> Tensor:
    """(B, T) padded on the right to a jagged nested tensor with these lengths."""
    rows = [row[:length] for row, length in zip(padded, lengths, strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)
