"""Credit inside TRL's GRPO trainer.

One method is overridden, and only what it returns is changed: advantages (B,) become (B, C), times
the weight of each completion token. TRL's loss accepts that shape; what is relied on is listed in
`RELIED_ON` and tested.
"""

import time
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from flowtracer.credit import (
    Credit,
    TokenCredit,
    apply_credit,
    score_batch,
    structural_vocabulary,
    token_credit,
)
from flowtracer.credit.summary import credit_metrics, credit_sums, warn_without_answers
from flowtracer.integrations.trl_loss import check_loss
from flowtracer.models.decoder import is_sharded
from flowtracer.scorers.batch import ScoreBatch

RELIED_ON = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")


class FlowCreditMixin:
    """Adds token-level credit to a GRPO trainer of TRL; put it before the trainer's class.

    Pass `credit=Credit(...)`; everything else is the trainer's own. Logged with each step, under
    `credit/`: ratio of completion tokens chosen, of responses without an answer and of responses with
    an answer that could not be scored, mean weight, concentration (ratio of the score in a response's
    top 20%), seconds, and their ratio to the time since the last batch was generated.

    Raises ValueError for settings under which token-level credit has no meaning, and
    AttentionCaptureError for a model whose attention cannot be read.
    """

    def __init__(self, *args: Any, credit: Credit | None = None, **kwargs: Any) -> None:
        self.credit = Credit() if credit is None else credit
        super().__init__(*args, **kwargs)
        check_settings(self)
        self._delimiters: Tensor | None = None
        self._began: float | None = None
        self._warned = False

    def _generate_and_score_completions(self: Any, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        began = time.perf_counter()
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if not self.model.training or self.credit.neutral:
            return output
        start = time.perf_counter()
        batch = self._credit_batch(inputs, output)
        advantages = output["advantages"]
        informative = advantages.abs().reshape(len(advantages), -1).amax(1) > 0
        model = self.accelerator.unwrap_model(self.model)
        with self.accelerator.autocast():
            result = token_credit(
                self.model if is_sharded(self.model) else model,
                batch,
                self.credit,
                row_mask=informative,
                all_reduce_max=self._all_reduce_max,
            )
        completion = slice(output["prompt_ids"].shape[1], None)
        output["advantages"] = apply_credit(
            advantages, result.weights[:, completion], batch.candidates[:, completion]
        )
        seconds = time.perf_counter() - start
        self._log_credit(batch, result, informative, seconds)
        if self._began is not None:
            self._metrics["train"]["credit/ratio_of_step"].append(
                self._credit_seconds / (began - self._began)
            )
        self._began, self._credit_seconds = began, seconds
        return output

    def _credit_batch(
        self: Any, inputs: list[dict[str, Any]], output: dict[str, Any]
    ) -> ScoreBatch:
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        if self.credit.needs_structure and self._delimiters is None:
            self._delimiters = structural_vocabulary(tokenizer)
        conversations = None
        if self.credit.question == "user":
            prompts = [row["prompt"] for row in inputs]
            conversations = [
                [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
                for prompt in prompts
            ]
        return score_batch(
            tokenizer,
            prompt_ids=output["prompt_ids"],
            prompt_mask=output["prompt_mask"],
            completion_ids=output["completion_ids"],
            completion_mask=output["completion_mask"],
            tool_mask=output.get("tool_mask"),
            answer=self.credit.answer,
            steps=self.credit.steps,
            conversations=conversations,
            delimiters=self._delimiters,
        )

    def _all_reduce_max(self: Any, forwards: int) -> int:
        if self.accelerator.num_processes == 1:
            return forwards
        count = torch.tensor([forwards], device=self.accelerator.device)
        return int(self.accelerator.gather(count).max())

    def _log_credit(
        self: Any, batch: ScoreBatch, result: TokenCredit, informative: Tensor, seconds: float
    ) -> None:
        """Means over all processes' responses; sums are gathered, so unequal parts weigh right."""
        sums = self.accelerator.gather(credit_sums(batch, result, informative).sum(0)[None]).sum(0)
        metrics = credit_metrics(sums) | {"seconds": seconds}
        for name, value in metrics.items():
            self._metrics["train"][f"credit/{name}"].append(value)
        if not self._warned and self.accelerator.is_main_process:
            self._warned = warn_without_answers(
                metrics["no_answer"], self.credit.answer, option="credit=Credit(answer=...)"
            )


class FlowGRPOTrainer(FlowCreditMixin, GRPOTrainer):
    """TRL's GRPOTrainer with credit for the tokens that carry the answer."""


def check_settings(trainer: Any) -> None:
    """Refuse what token-level credit cannot work with, before anything is trained."""
    args = trainer.args
    level = getattr(trainer, "importance_sampling_level", "token")
    if level != "token":
        raise ValueError(
            f"importance_sampling_level is {level!r}: one ratio per sequence leaves no place for "
            "credit per token; use importance_sampling_level='token'"
        )
    if getattr(args, "use_liger_loss", False) or hasattr(trainer, "liger_grpo_loss"):
        raise ValueError(
            "the Liger GRPO loss takes one advantage per sequence; switch it off to use credit"
        )
    trainer.credit.check_model(trainer.accelerator.unwrap_model(trainer.model))
    check_loss(trainer)
