"""ms-swift's GRPO trainer, with every token's advantage times its weight.

One method is added to: `_postprocess_batch`, in which swift has computed the advantages (B, C) of all
micro-batches of a generation, with the policy that wrote the responses or, in its asynchronous mode, the one
after it. The weights come from a pass of their own of that model.
"""

import time
from functools import partial
from typing import Any, ClassVar

import torch
from swift.rlhf_trainers import GRPOTrainer
from torch import Tensor

from flowtracer.credit import Credit, apply_credit, structural_vocabulary, token_credit
from flowtracer.credit.sequences import batch_of_sequences
from flowtracer.credit.summary import credit_sums
from flowtracer.integrations.accelerated import log_credit, max_over_processes, policy_of
from flowtracer.integrations.swift.rows import last_columns, rows_of
from flowtracer.integrations.swift.settings import check_settings


class FlowCreditMixin:
    """Adds credit to a GRPO trainer of ms-swift; put it before the trainer's class.

    Logged with each generation, under `credit/`, as in the TRL trainer.

    Raises ValueError for settings under which credit would not be given.
    """

    credit: ClassVar[Credit] = Credit()  # `use_credit` sets it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_settings(self)
        self._delimiters: Tensor | None = None
        self._warned = False

    def _postprocess_batch(self: Any, samples: list[Any], batches: list[dict[str, Any]]) -> None:
        super()._postprocess_batch(samples, batches)  # type: ignore[misc]
        if not self.model.training or self.credit.neutral:
            return
        start = time.perf_counter()
        if self.credit.needs_structure and self._delimiters is None:
            self._delimiters = structural_vocabulary(self.template.tokenizer)
        sums = torch.stack([self._give_credit(**batch) for batch in batches]).sum(0)
        log_credit(self, sums, time.perf_counter() - start, option="the option answer")

    def _give_credit(
        self: Any, model_inputs: dict[str, Any], grpo_batch: Any, **others: Any
    ) -> Tensor:
        """Weigh the advantages of a micro-batch; the sums (10,) of `flowtracer.credit.summary`."""
        advantages, mask = grpo_batch.advantages, grpo_batch.completion_mask
        rows = rows_of(model_inputs, mask, padding_free=self.template.padding_free)
        informative = (advantages * mask).abs().sum(1) > 0
        batch = batch_of_sequences(
            self.template.tokenizer,
            rows.input_ids,
            rows.response_mask,
            self.credit,
            attention_mask=rows.attention_mask,
            delimiters=self._delimiters,
        )
        with self.accelerator.autocast():
            result = token_credit(
                policy_of(self),
                batch,
                self.credit,
                row_mask=informative,
                all_reduce_max=partial(max_over_processes, self.accelerator),
            )
        weights = last_columns(result.weights, mask.shape[1], fill=1.0)
        grpo_batch.advantages = apply_credit(advantages, weights, mask)
        return credit_sums(batch, result, informative).sum(0)


class FlowGRPOTrainer(FlowCreditMixin, GRPOTrainer):
    """swift's GRPOTrainer with credit for the tokens that carry the answer."""
