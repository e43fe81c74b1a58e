"""Log-probabilities of a batch in parts of rows of like length, so that padding is not computed.

One method of TRL's trainer is overridden; it still computes every log-probability, of fewer rows and
columns at a time. `RELIED_ON` is tested.
"""

from typing import Any

import torch
from torch import Tensor, nn

# Our choice, by the kind of device: on a CPU a small model gains nothing by larger parts, on a GPU every
# part is launched anew.
PART_TOKENS = {"cpu": 1 << 12, "cuda": 1 << 15}
RELIED_ON = ("model", "input_ids", "attention_mask", "logits_to_keep", "batch_size")


class LengthSortedMixin:
    """Runs the policy on rows of like length; put it before a GRPO trainer of TRL.

    While a part runs, `rows_of_part` holds its rows (R,) of the batch; otherwise it is None.

    Results agree to rounding with those of one padded batch, without dropout. Only the padding on the
    right is left out, because TRL passes no positions and these would move with the left. One process
    only, because processes would have to agree on the number of parts; others run as before, as do
    models with pictures.
    """

    rows_of_part: Tensor | None = None

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
        tokens = PART_TOKENS.get(input_ids.device.type, PART_TOKENS["cuda"])
        parts = parts_by_length(attention_mask, logits_to_keep, tokens=tokens)
        logs, entropies = [], []
        for rows, stop in parts:
            behind = input_ids.shape[1] - stop
            self.rows_of_part = rows
            try:
                log, entropy, _ = compute(
                    model,
                    input_ids[rows, :stop],
                    attention_mask[rows, :stop],
                    logits_to_keep - behind,
                    compute_entropy=compute_entropy,
                )
            finally:
                self.rows_of_part = None
            logs.append(nn.functional.pad(log, (0, behind)))
            if entropy is not None:
                entropies.append(nn.functional.pad(entropy, (0, behind)))
        back = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat(logs)[back], torch.cat(entropies)[back] if entropies else None, None


def parts_by_length(
    attention_mask: Tensor, completion: int, *, tokens: int = PART_TOKENS["cpu"]
) -> list[tuple[Tensor, int]]:
    """Rows by length in parts of at most so many tokens, and the number of columns that a part needs.

    attention_mask: (B, P + C), completions of `completion` columns padded on the right. The prompt and
    one completion token are among the columns.
    """
    column = torch.arange(1, attention_mask.shape[1] + 1, device=attention_mask.device)
    least = attention_mask.shape[1] - completion + 1
    stop = ((attention_mask > 0) * column).amax(1).clamp(min=least)
    order = stop.argsort(stable=True)
    parts: list[tuple[Tensor, int]] = []
    begin = 0
    widths = stop[order].tolist()
    for end in range(1, len(widths) + 1):
        if end == len(widths) or (end + 1 - begin) * widths[end] > tokens:
            parts.append((order[begin:end], widths[end - 1]))
            begin = end
    return parts
