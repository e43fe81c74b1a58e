"""Log-probabilities of a batch in parts of rows of like length, so that padding is not computed.

One method of TRL's trainer is overridden; it still computes every log-probability, of fewer rows and
columns at a time. `RELIED_ON` is tested.
"""

from typing import Any

import torch
from torch import Tensor, nn

PART_TOKENS = 1 << 12  # our choice: a step of a small model gains nothing by larger parts
RELIED_ON = ("model", "input_ids", "attention_mask", "logits_to_keep", "batch_size")


class LengthSortedMixin:
    """Runs the policy on rows of like length; put it before a GRPO trainer of TRL.

    Results agree to rounding with those of one padded batch. One process only, because processes would
    have to agree on the number of parts; others run as before, as do models with pictures.
    """

    def _get_per_token_logps_and_entropies(
        self: Any,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        compute = super()._get_per_token_logps_and_entropies  # type: ignore[misc]
        several = self.accelerator.num_processes > 1
        if several or compute_aux_loss or any(value is not None for value in inputs.values()):
            plain: tuple[Tensor, Tensor | None, Tensor | None] = compute(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **inputs,
            )
            return plain
        parts = parts_by_length(attention_mask, logits_to_keep)
        logs, entropies = [], []
        for rows, columns in parts:
            behind = input_ids.shape[1] - columns.stop
            log, entropy, _ = compute(
                model,
                input_ids[rows, columns],
                attention_mask[rows, columns],
                logits_to_keep - behind,
                compute_entropy=compute_entropy,
            )
            logs.append(nn.functional.pad(log, (0, behind)))
            if entropy is not None:
                entropies.append(nn.functional.pad(entropy, (0, behind)))
        back = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat(logs)[back], torch.cat(entropies)[back] if entropies else None, None


def parts_by_length(
    attention_mask: Tensor, completion: int, *, tokens: int = PART_TOKENS
) -> list[tuple[Tensor, slice]]:
    """Rows by length in parts of at most so many tokens, and the columns that a part needs.

    attention_mask: (B, P + C), prompts padded on the left, completions of `completion` columns on the
    right. The last prompt token and one completion token are among the columns.
    """
    real = attention_mask > 0
    column = torch.arange(real.shape[1], device=real.device)
    start = real.int().argmax(1).clamp(max=real.shape[1] - completion - 1).tolist()
    stop = (real * (column + 1)).amax(1).clamp(min=real.shape[1] - completion + 1).tolist()
    parts: list[tuple[Tensor, slice]] = []
    rows: list[int] = []
    begin = end = 0
    for row in sorted(range(len(start)), key=lambda row: stop[row] - start[row]):
        wider = min(begin, start[row]), max(end, stop[row])
        if rows and (len(rows) + 1) * (wider[1] - wider[0]) > tokens:
            parts.append((torch.tensor(rows, device=real.device), slice(begin, end)))
            rows = []
        begin, end = wider if rows else (start[row], stop[row])
        rows.append(row)
    parts.append((torch.tensor(rows, device=real.device), slice(begin, end)))
    return parts
