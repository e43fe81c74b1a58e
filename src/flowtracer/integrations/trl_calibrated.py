"""`Credit(rule=Calibrated(...))` inside TRL's GRPO trainer: measured on the step's own rollouts.

What is known so far is in the trainer's state (`stateful_callbacks`), which TRL saves with each checkpoint
and reads again, so that a resumed run chooses as one that was not interrupted.
"""

import base64
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.credit.calibrated import (
    LEAST_PARTS,
    Calibrated,
    bounds,
    measure,
    shares,
    window_weights,
)
from flowtracer.credit.credit import Credit, TokenCredit, apply_credit, token_credits
from flowtracer.credit.summary import credit_metrics, credit_sums
from flowtracer.credit.weighting import UNIFORM
from flowtracer.gradients.backward import rule_gradients, sampled_coordinates
from flowtracer.gradients.objective import grpo_coefficients, reward_coefficients
from flowtracer.models.decoder import is_sharded, layer_stack
from flowtracer.scorers.batch import ScoreBatch

STATE = "FlowCalibration"
PER_RESPONSE = ("grpo",)  # losses that are means over each response first


class Calibration:
    """The rules of a trainer's credit, and which of them is in use.

    Raises ValueError for a model that is sharded, or of which none of the last layers is trained.
    """

    def __init__(self, trainer: Any, credit: Credit) -> None:
        assert credit.rule is not None
        self.trainer = trainer
        self.settings: Calibrated = credit.rule
        self.credits = credit.candidates()
        model = trainer.accelerator.unwrap_model(trainer.model)
        if is_sharded(trainer.model) or is_sharded(model):
            raise ValueError(
                "calibrated credit takes gradients of complete layers, of which a sharded model has a part "
                "in each process; use one rule, or DDP"
            )
        self.parameters = trained_parameters(model, self.settings.layers)
        self.coordinates = sampled_coordinates(self.parameters, self.settings.coordinates, seed=0)
        self.began: float | None = None
        self.seconds = 0.0

    def apply(self, batch: ScoreBatch, output: dict[str, Any]) -> TokenCredit | None:
        """Measure if it is time, and weigh the advantages of a batch of rollouts, in place.

        Returns what the tokens were given, with the scores of the rule that counts most; None if nothing.
        """
        credit = None
        start = time.perf_counter()
        state = self._state()
        advantages: Tensor = output["advantages"]
        informative = advantages.abs() > 0
        results: dict[str, TokenCredit] = {}
        if self.settings.measures(state["batches"]):
            results = self._calibrate(state, batch, advantages, informative)
            self._log("calibration_seconds", time.perf_counter() - start)
        state["batches"] += 1
        used: dict[str, float] = state["shares"]
        if used:
            if not set(used) <= results.keys():
                results = self._weights(list(used), batch, informative)
            weights = mixed_weights(results, used)
            if self.settings.normalise:
                weights = normalised(weights, batch.candidates & informative[:, None])
            completion = slice(output["prompt_ids"].shape[1], None)
            output["advantages"] = apply_credit(
                advantages, weights[:, completion], batch.candidates[:, completion]
            )
            first = results[max(used, key=lambda name: used[name])]
            credit = replace(first, weights=weights)
            self._log_credit(batch, first, informative)
        for name in (UNIFORM, *self.credits):
            self._log(f"share/{name}", used.get(name, 0.0) if used else float(name == UNIFORM))
        self._log_seconds(start)
        return credit

    def _calibrate(
        self, state: dict[str, Any], batch: ScoreBatch, advantages: Tensor, informative: Tensor
    ) -> dict[str, TokenCredit]:
        """Measure, decide, and return every rule's weights; uniform and a warning if that fails."""
        results: dict[str, TokenCredit] = {}
        gradients = torch.zeros(self._local_parts, 2 + len(self.credits), len(self.coordinates))
        reason = ""
        try:
            with self.trainer.accelerator.autocast():
                results = self._weights(list(self.credits), batch, informative)
                weights = [result.weights for result in results.values()]
                self._gradients(gradients, batch, advantages, weights)
            if not bool(torch.isfinite(gradients).all()):
                raise ValueError("a gradient is not finite")
        except Exception as error:  # whatever it is, training continues
            reason = f"{type(error).__name__}: {error}"
            gradients.zero_()
        gathered, failures = self._gathered(gradients, bool(reason))
        self._log("failed", float(failures > 0))
        if failures:
            state["shares"] = {}
            text = reason or "in another process"
            warnings.warn(f"a calibration failed, weights are uniform ({text})", stacklevel=2)
            return {}
        parts = gathered[gathered[:, 0].abs().amax(1) > 0]
        if len(parts) >= LEAST_PARTS:
            self._decide(state, parts)
        return results

    def _decide(self, state: dict[str, Any], parts: Tensor) -> None:
        gradients, weights = self._window(state, parts)
        state["calibrations"] += 1
        known = bounds(
            measure(gradients, weights=weights),
            self.settings,
            number=state["calibrations"],
            looks=self._looks(),
        )
        differences = dict(zip(self.credits, known, strict=True))
        state["shares"] = shares(differences, self.settings.choice)
        for name, difference in differences.items():
            self._log(f"alignment/{name}", difference.value)
            self._log(f"low/{name}", max(difference.low, -1.0))

    def _window(self, state: dict[str, Any], parts: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of the last calibrations, these ones included, (P, 2 + R, C), and their weights (P,)."""
        kept = state["window"]
        kept.append({"parts": len(parts), "gradients": _encoded(parts)})
        del kept[: -self.settings.window]
        gradients = [_decoded(each["gradients"]).view(-1, *parts.shape[1:]) for each in kept]
        counts = [each["parts"] for each in kept]
        return torch.cat(gradients), window_weights(counts, self.settings.decay)

    def _gradients(
        self, gradients: Tensor, batch: ScoreBatch, advantages: Tensor, weights: Sequence[Tensor]
    ) -> None:
        """The reward's, uniform weights' and every rule's gradient of each part, into (P, 2 + R, C)."""
        per_response = getattr(self.trainer.args, "loss_type", "grpo") in PER_RESPONSE
        uniform = torch.ones_like(weights[0])
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        for number, rows in enumerate(
            parts_of_prompts(batch, advantages.abs() > 0, self._local_parts)
        ):
            part, scale = batch.take(rows), advantages[rows].float()
            reward = reward_coefficients(scale, part.candidates)
            rules = [
                grpo_coefficients(scale, weight[rows], part.candidates)
                if per_response
                else reward * weight[rows]
                for weight in (uniform, *weights)
            ]
            # Means become sums: parts differ in their number of responses.
            coefficients = torch.stack([reward, *rules]) * len(rows)
            gradients[number] = rule_gradients(
                model, part, coefficients, self.parameters, self.coordinates
            )

    def _weights(
        self, names: Sequence[str], batch: ScoreBatch, informative: Tensor
    ) -> dict[str, TokenCredit]:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        credits = [self.credits[name] for name in names]
        with self.trainer.accelerator.autocast():
            results = token_credits(model, batch, credits, row_mask=informative)
        return dict(zip(names, results, strict=True))

    @property
    def _local_parts(self) -> int:
        return max(1, self.settings.parts // self.trainer.accelerator.num_processes)

    def _gathered(self, gradients: Tensor, failed: bool) -> tuple[Tensor, int]:
        """Parts of all processes, and in how many of them the calibration failed."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return gradients, int(failed)
        flag = torch.tensor([int(failed)], device=accelerator.device)
        parts: Tensor = accelerator.gather(gradients.to(accelerator.device)).cpu()
        return parts, int(accelerator.gather(flag).sum())

    def _looks(self) -> int | None:
        """Calibrations of the entire run, if its length is known."""
        args, steps = self.trainer.args, self.trainer.state.max_steps
        per_batch = args.steps_per_generation * self.trainer.num_iterations
        if not steps or steps < 1:
            return None
        batches = ceil(steps * args.gradient_accumulation_steps / per_batch)
        return sum(map(self.settings.measures, range(batches)))

    def _state(self) -> dict[str, Any]:
        """What is known so far, in values that JSON keeps."""
        states: dict[str, Any] = self.trainer.state.stateful_callbacks
        new = {"batches": 0, "calibrations": 0, "shares": {}, "window": []}
        state: dict[str, Any] = states.setdefault(STATE, new)
        return state

    def _log(self, name: str, value: float) -> None:
        self.trainer._metrics["train"][f"calibrated/{name}"].append(value)

    def _log_credit(self, batch: ScoreBatch, result: TokenCredit, informative: Tensor) -> None:
        sums = credit_sums(batch, result, informative).sum(0)[None]
        for name, value in credit_metrics(self.trainer.accelerator.gather(sums).sum(0)).items():
            self.trainer._metrics["train"][f"credit/{name}"].append(value)

    def _log_seconds(self, start: float) -> None:
        if self.began is not None:
            ratio = self.seconds / (start - self.began)
            self.trainer._metrics["train"]["credit/ratio_of_step"].append(ratio)
        self.began, self.seconds = start, time.perf_counter() - start
        self.trainer._metrics["train"]["credit/seconds"].append(self.seconds)


def trained_parameters(model: nn.Module, layers: int) -> list[nn.Parameter]:
    """Parameters of the last layers that are trained: an adapter's, where there is one.

    Raises ValueError if there are none.
    """
    stack = layer_stack(model)[-layers:]
    chosen = [p for layer in stack for p in layer.parameters() if p.requires_grad]
    if not chosen:
        raise ValueError(
            f"none of the last {layers} layers has trained parameters, of which calibrated credit takes "
            "gradients; train them, or raise layers"
        )
    return chosen


def parts_of_prompts(batch: ScoreBatch, informative: Tensor, parts: int) -> list[Tensor]:
    """Rows of the informative responses in at most so many parts, (n,) each, none empty.

    Responses to one prompt, what precedes the first candidate, are in one part: they share a baseline.
    informative: (B,) bool.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    first = batch.candidates.int().argmax(1).tolist()
    real = batch.attention_mask > 0
    for row in informative.nonzero()[:, 0].tolist():
        prompt = batch.input_ids[row, : first[row]][real[row, : first[row]]].tolist()
        rows.setdefault(tuple(prompt), []).append(row)
    dealt: list[list[int]] = [[] for _ in range(min(parts, len(rows)))]
    for number, members in enumerate(rows.values()):
        dealt[number % parts] += members
    return [torch.tensor(members, device=batch.input_ids.device) for members in dealt]


def mixed_weights(results: Mapping[str, TokenCredit], used: Mapping[str, float]) -> Tensor:
    """Weights of the rules in use, each by its share, (B, T)."""
    (first, share), *others = used.items()
    weights = results[first].weights * share
    for name, part in others:
        weights = weights + results[name].weights * part
    return weights


def normalised(weights: Tensor, tokens: Tensor) -> Tensor:
    """Weights (B, T) with mean 1 over the tokens (B, T) bool; others as they are."""
    mean = weights[tokens].mean() if bool(tokens.any()) else weights.new_ones(())
    return torch.where(tokens & (mean > 0), weights / mean, weights)


def _encoded(gradients: Tensor) -> str:
    """In bfloat16: a window would otherwise be the larger part of a small model's checkpoint."""
    return base64.b64encode(gradients.bfloat16().view(torch.uint8).numpy().tobytes()).decode()


def _decoded(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.bfloat16)
