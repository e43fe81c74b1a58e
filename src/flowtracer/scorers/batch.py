"""Token sequences to give credit to, and what is known of each token."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.models.pictures import ModelInputs


@dataclass(frozen=True)
class ScoreBatch:
    """B sequences of prompt and response, T tokens long with padding on either side; tensors (B, T)."""

    input_ids: Tensor
    attention_mask: Tensor  # 0 at padding
    question: Tensor  # bool, where flow enters
    candidates: Tensor  # bool, tokens that the policy wrote: no padding, no tool output
    answer: Tensor  # float, weight of each answer token, 0 elsewhere
    structural: Tensor | None = None  # bool, delimiters, for scorers and selections that ask
    steps: Tensor | None = None  # float, score of the step a token belongs to, 1 outside of steps
    tokenizer: PreTrainedTokenizerBase | None = None  # of the ids, for scorers that read text
    model_inputs: ModelInputs | None = None  # pictures, and what the processor says of each token

    def take(self, rows: Tensor, columns: slice = slice(None)) -> "ScoreBatch":
        """Some rows (indices or bool) and a range of columns."""
        taken: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            taken[field.name] = value[rows, columns] if isinstance(value, Tensor) else value
        if self.model_inputs is not None:
            taken["model_inputs"] = self.model_inputs.take(rows, columns)
        return ScoreBatch(**taken)

    def to(self, device: torch.device) -> "ScoreBatch":
        """The same on a device."""
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor | ModelInputs):
                moved[name] = value.to(device)
        return ScoreBatch(**moved)

    @property
    def scorable(self) -> Tensor:
        """Rows that have a question, an answer and something to choose from, (B,) bool."""
        return self.question.any(1) & (self.answer > 0).any(1) & self.candidates.any(1)
