"""Credit inside TRL's GRPO and RLOO trainers.

Advantages (B,) become (B, C), times the weight of each completion token: in what generation returns, or,
where credit rides on the loss's own forward pass, in the loss's inputs before it reads them. TRL's
token-level losses accept that shape; the others weigh gradients, see `trl_gradients`. What is relied on is
listed in `RELIED_ON`, here and in `trl_riding`, and tested.
"""

import time
import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from trl import GRPOTrainer, RLOOTrainer

from flowtracer.credit import (
    Credit,
    TokenCredit,
    apply_credit,
    score_batch,
    structural_vocabulary,
    token_credit,
)
from flowtracer.credit.riding import RiddenCredit, fits
from flowtracer.credit.summary import credit_sums
from flowtracer.integrations.accelerated import log_credit, max_over_processes, policy_of
from flowtracer.integrations.trl_calibrated import Calibration
from flowtracer.integrations.trl_gradients import WEIGHTS, gradients_weighed
from flowtracer.integrations.trl_loss import WeightsIn, check_methods, check_settings
from flowtracer.integrations.trl_pictures import pictures_of
from flowtracer.integrations.trl_riding import (
    CreditForward,
    Ride,
    check_forward,
    pop_batch,
    riding_fields,
    why_not_ride,
)
from flowtracer.integrations.trl_rollouts import COUNT, EVERY, RolloutLog
from flowtracer.models import unsloth
from flowtracer.scorers.batch import ScoreBatch

RELIED_ON = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")


class FlowCreditMixin:
    """Adds token-level credit to a trainer of TRL with GRPO's methods; put it before the trainer's class.

    Pass `credit=Credit(...)`; everything else is the trainer's own. Logged with each generation, under
    `credit/`: ratio of completion tokens chosen, of responses without an answer and of responses with
    an answer that could not be scored, mean weight, concentration (ratio of the score in a response's
    top 20%), seconds, and their ratio to the time since the last batch was generated.

    credit_forward: where attention is read.
        "own": in a truncated pass of its own, after a batch was generated.
        "ride": in the loss's own forward pass, the first time that a response is in it; the weights are
            kept for later updates on the same batch. What cannot be read this way (`why_not_ride`) takes
            a pass of its own, with one warning.
        "auto", the default: "ride" where that is possible. It is the cheaper way on CPUs too
            (`bench/riding.py`).

    rollouts_every, rollouts_count: after how many steps rollouts are stored in the output folder, with each
    token's weight, score and advantage (0 for never), and how many of them. See docs/training.md.

    With `Credit(rule=Calibrated(...))`, under `calibrated/`: share of each rule in use, and where it was
    measured, alignment of each rule less that of uniform weights, its lower bound, and seconds. It takes
    passes of its own.

    Raises ValueError for settings under which token-level credit has no meaning, and
    AttentionCaptureError for a model whose attention cannot be read.
    """

    weights_in: WeightsIn = "advantages"

    def __init__(
        self,
        *args: Any,
        credit: Credit | None = None,
        credit_forward: CreditForward = "auto",
        rollouts_every: int = EVERY,
        rollouts_count: int = COUNT,
        **kwargs: Any,
    ) -> None:
        check_forward(credit_forward)
        unsloth.check_trainer(type(self))
        check_methods(super(), type(self).__name__)
        self.credit = Credit() if credit is None else credit
        self.credit_forward = credit_forward
        self._ride: Ride | None = None  # in a loss whose forward pass is ridden on
        super().__init__(*args, **kwargs)
        self.weights_in = check_settings(self)
        self.rollout_log = RolloutLog(self, every=rollouts_every, count=rollouts_count)
        self.add_callback(self.rollout_log)  # type: ignore[attr-defined]
        rule = self.credit.rule
        self.calibration = None if rule is None else Calibration(self, self.credit)
        self._delimiters: Tensor | None = None
        self._began: float | None = None
        self._warned = False
        self._rides: bool | None = None  # whether settings allow it, once it is known

    def _generate_and_score_completions(self: Any, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        began = time.perf_counter()
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        self.rollout_log.begin(output)
        if not self.model.training or self.credit.neutral:
            self.rollout_log.add(output)
            return output
        if self.calibration is not None:
            batch = self._credit_batch(inputs, output)
            self.rollout_log.add(output, batch, self.calibration.apply(batch, output))
            return output
        if self._began is not None:
            self._metrics["train"]["credit/ratio_of_step"].append(
                self._credit_seconds / (began - self._began)
            )
        self._began, self._credit_seconds, self._credit_sums = began, 0.0, torch.zeros(())
        self._rows_without_credit = len(output["advantages"])
        start = time.perf_counter()
        batch = self._credit_batch(inputs, output)
        if self._can_ride(batch):
            output |= riding_fields(batch)
            self._credit_seconds = time.perf_counter() - start
        else:
            result = self._own_credit(batch, output["advantages"])
            self._give_credit(output, batch, result, start=start)
        return output

    def _compute_loss(self: Any, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        batch = pop_batch(inputs)
        if batch is not None:
            batch = replace(batch, model_inputs=pictures_of(policy_of(self), inputs))
            ridden = RiddenCredit(
                policy_of(self),
                batch,
                self.credit,
                row_mask=informative_rows(inputs["advantages"]),
                rows_of_pass=lambda: getattr(self, "rows_of_part", None),
            )
            self._ride = Ride(inputs, ridden)
        weighed = (
            gradients_weighed(self, inputs) if self.weights_in == "gradients" else nullcontext()
        )
        try:
            with weighed:
                loss: Tensor = super()._compute_loss(model, inputs)  # type: ignore[misc]
        finally:
            self._ride = None
        return loss

    def _get_per_token_logps_and_entropies(
        self: Any, model: nn.Module, input_ids: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        compute = super()._get_per_token_logps_and_entropies  # type: ignore[misc]
        ride = self._ride
        if ride is None:
            return compute(model, input_ids, *args, **kwargs)
        with ride.observing(input_ids, getattr(self, "rows_of_part", None)):
            outputs = compute(model, input_ids, *args, **kwargs)
        if ride.is_over:  # before the loss reads the advantages
            self._ride = None
            self._end_ride(ride)
        return outputs

    def _can_ride(self: Any, batch: ScoreBatch) -> bool:
        """Whether the loss's forward passes on this batch can be ridden on, in all processes."""
        if self.credit_forward == "own":
            return False
        if self._rides is None:
            self._stop_riding(why_not_ride(self, policy_of(self), self.credit))
        if not self._rides:
            return False
        rows, length = batch.input_ids.shape
        rows = -(-rows // self.args.steps_per_generation)
        return not max_over_processes(
            self.accelerator, int(not fits(policy_of(self), self.credit, rows, length))
        )

    def _stop_riding(self: Any, reason: str | None) -> None:
        self._rides = reason is None
        if reason is not None and self.credit_forward == "ride":
            warnings.warn(
                f"credit_forward is 'ride', but {reason}; credit takes a pass of its own",
                stacklevel=3,
            )

    def _end_ride(self: Any, ride: Ride) -> None:
        """Weigh the advantages of a loss whose rows have all gone through the policy."""
        ridden, start = ride.ridden, time.perf_counter()
        if max_over_processes(self.accelerator, int(not ridden.complete)):
            self._stop_riding("its forward pass did not show the attention of every row")
            result = self._own_credit(ridden.batch, ride.inputs["advantages"])
        else:
            result = ridden.credit()
        self._give_credit(ride.inputs, ridden.batch, result, start=start - ridden.seconds)

    def _own_credit(self: Any, batch: ScoreBatch, advantages: Tensor) -> TokenCredit:
        """Credit by a pass of its own."""
        with self.accelerator.autocast():
            return token_credit(
                policy_of(self),
                batch,
                self.credit,
                row_mask=informative_rows(advantages),
                all_reduce_max=partial(max_over_processes, self.accelerator),
            )

    def _give_credit(
        self: Any, inputs: dict[str, Any], batch: ScoreBatch, result: TokenCredit, *, start: float
    ) -> None:
        """Weigh the advantages in `inputs`; with the last rows of a generation, log.

        start: when the work on these rows began.
        """
        advantages = inputs["advantages"]
        completion = slice(inputs["prompt_ids"].shape[1], None)
        weights, mask = result.weights[:, completion], batch.candidates[:, completion]
        inputs["advantages"] = apply_credit(advantages, weights, mask)
        sums = credit_sums(batch, result, informative_rows(advantages)).sum(0)
        self._credit_sums = sums + self._credit_sums.to(sums)
        self._credit_seconds += time.perf_counter() - start
        self.rollout_log.add(inputs, batch, result)
        if self.weights_in == "gradients":
            unit_advantages = torch.ones_like(advantages)
            inputs |= {
                "advantages": advantages,
                WEIGHTS: apply_credit(unit_advantages, weights, mask),
            }
        self._rows_without_credit -= len(advantages)
        if self._rows_without_credit <= 0:
            log_credit(
                self, self._credit_sums, self._credit_seconds, option="credit=Credit(answer=...)"
            )

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
            model_inputs=pictures_of(policy_of(self), output),
        )


class FlowGRPOTrainer(FlowCreditMixin, GRPOTrainer):
    """TRL's GRPOTrainer with credit for the tokens that carry the answer."""


class FlowRLOOTrainer(FlowCreditMixin, RLOOTrainer):
    """TRL's RLOOTrainer with credit for the tokens that carry the answer."""


def informative_rows(advantages: Tensor) -> Tensor:
    """Rows (B,) of advantages (B,) or (B, C) that are not all zero; the others learn nothing."""
    return advantages.abs().reshape(len(advantages), -1).amax(1) > 0
