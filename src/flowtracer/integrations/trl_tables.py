"""Tokens and weights as columns of TRL's own table of completions (`log_completions`).

TRL takes extra columns from reward functions, before there is credit, so the columns are begun empty with
each batch and filled in when its weights are known.
"""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import gather_object

from flowtracer.credit.credit import TokenCredit
from flowtracer.regions.offsets import decode_all_with_offsets
from flowtracer.watching.completions import TOKENS, WEIGHTS
from flowtracer.watching.rollout import texts_of_tokens

# Beside `_logs`: a deque for each extra column, as long as those of the table's own columns.
RELIED_ON = ("extra", "prompt")


class Cell(list[Any]):
    """A list in the table, which the terminal shows by its summary."""

    summary = ""

    def __str__(self) -> str:
        return self.summary


def begin_table(trainer: Any, rows: int) -> bool:
    """Begin the columns for a batch, also one of an evaluation; whether there is a table at all."""
    if not getattr(trainer, "log_completions", False) or getattr(trainer, "credit", None) is None:
        return False
    for name in (TOKENS, WEIGHTS):
        trainer._logs["extra"][name].extend([None] * (rows * trainer.accelerator.num_processes))
    return True


def add_to_table(
    trainer: Any,
    inputs: dict[str, Any],
    rows: Sequence[int],
    credit: TokenCredit | None,
    *,
    batch_rows: int,
) -> None:
    """Fill in these rows of this process's batch of `batch_rows`, and those of the other processes.

    batch_rows: 0 if the table does not have the batch.
    """
    if not batch_rows:
        return
    processor = trainer.processing_class
    mask = (inputs["completion_mask"] > 0).cpu()
    weights = torch.ones(mask.shape)
    if credit is not None:
        weights = credit.weights[:, inputs["prompt_ids"].shape[1] :].cpu()
    ids = [
        row_ids[real].tolist()
        for row_ids, real in zip(inputs["completion_ids"].cpu(), mask, strict=True)
    ]
    decoded = decode_all_with_offsets(getattr(processor, "tokenizer", processor), ids)
    processes = trainer.accelerator.num_processes
    first = len(trainer._logs["extra"][TOKENS]) + batch_rows * (
        trainer.accelerator.process_index - processes
    )
    cells = [
        (first + row, texts_of_tokens(text.text, text.offsets), row_weights[real].tolist())
        for row, text, row_weights, real in zip(rows, decoded, weights, mask, strict=True)
    ]
    for row, tokens, values in gather_object(cells):
        texts, numbers = Cell(tokens), Cell(values)
        texts.summary = f"{len(tokens)} tokens"
        above = sum(value > 1 for value in values)
        numbers.summary = f"{above} of {len(values)} above 1"
        trainer._logs["extra"][TOKENS][row] = texts
        trainer._logs["extra"][WEIGHTS][row] = numbers
