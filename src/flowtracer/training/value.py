"""Method `value`: the advantage of a token is what its step changed in the chance of being right.

VinePPO (Kazemnejad et al. 2024, arXiv 2410.01679) with decisions as steps: the value of a prefix is the
mean reward of K continuations of the policy, the advantage of a step its value after less its value
before, for each of its tokens. For small models: a step of training samples K times as often as it has
decisions.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from trl import GRPOTrainer

from flowtracer.credit.arguments import option
from flowtracer.credit.values import THRESHOLD, credit_of_values, decisions, step_advantages
from flowtracer.integrations.trl_loss import check_loss
from flowtracer.integrations.trl_parts import LengthSortedMixin
from flowtracer.models.branching import Prefix
from flowtracer.models.continuation import continue_in_parts, read_text
from flowtracer.models.decoder import is_sharded
from flowtracer.models.generation import end_tokens
from flowtracer.models.swap import evaluating

# Row of the batch and the token ids of a response to it, to the reward; several at a time.
Grade = Callable[[Sequence[tuple[int, Sequence[int]]]], Sequence[float]]


@dataclass(frozen=True)
class ValueArguments:
    """How values are estimated; see docs/training.md."""

    value_continuations: int = option(8, "Method value: continuations of each prefix.")
    value_threshold: float = option(
        THRESHOLD, "Method value: a token of less probability begins a step."
    )

    def __post_init__(self) -> None:
        if self.value_continuations < 1:
            raise ValueError(
                f"value_continuations is {self.value_continuations}; it must be at least 1"
            )
        if not 0 < self.value_threshold <= 1:
            raise ValueError(
                f"value_threshold is {self.value_threshold}; it must be above 0 and at most 1"
            )


@dataclass(frozen=True)
class Policy:
    """A model and how it continues. limit: tokens of a complete response. ends: ids that end one."""

    model: nn.Module
    temperature: float
    limit: int
    ends: Collection[int]


def value_advantages(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    grade: Grade,
    settings: ValueArguments,
    *,
    seed: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Advantages of each response's tokens, (T,) float64, and the values before its steps, (n,).

    responses: with the end-of-text token where there is one. Responses to one prompt that begin with the
    same tokens share the values of these. Advantages of a response sum over its steps to its reward less
    the value before the first one.
    """
    number: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    prefixes: list[Prefix] = []
    limits: list[int] = []
    rows: list[int] = []
    points: list[list[int]] = []
    with evaluating(policy.model):
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            text = read_text(policy.model, [*prompt, *response])
            chosen = decisions(text.log_probability[len(prompt) - 1 :], settings.value_threshold)
            points.append(chosen)
            for point in chosen:
                key = (tuple(prompt), tuple(response[:point]))
                if key not in number:
                    number[key] = len(prefixes)
                    prefixes.append(text.prefix(len(prompt) + point))
                    limits.append(policy.limit - point)
                    rows.append(row)
        drawn = continue_in_parts(
            policy.model,
            prefixes,
            copies=settings.value_continuations,
            limits=limits,
            ends=policy.ends,
            temperature=policy.temperature,
            seed=seed,
        )
    starts = [begin for _, begin in number]
    copies = settings.value_continuations
    texts = [(rows[i // copies], (*starts[i // copies], *new)) for i, new in enumerate(drawn)]
    outcomes = [(row, tuple(response)) for row, response in enumerate(responses)]
    rewards = torch.tensor(_graded([*texts, *outcomes], prompts, grade), dtype=torch.float64)
    means = rewards[: len(texts)].view(len(prefixes), copies).mean(1)
    advantages, values = [], []
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        keys = [(tuple(prompt), tuple(response[:point])) for point in points[row]]
        value = means[[number[key] for key in keys]]
        credit = credit_of_values(value, float(rewards[len(texts) + row]))
        advantages.append(step_advantages(credit, points[row], len(response)))
        values.append(value)
    return advantages, values


def _graded(
    texts: Sequence[tuple[int, tuple[int, ...]]], prompts: Sequence[Sequence[int]], grade: Grade
) -> list[float]:
    """Rewards of all texts; equal ones are graded once."""
    number: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    distinct: list[tuple[int, tuple[int, ...]]] = []
    index = []
    for row, ids in texts:
        key = (tuple(prompts[row]), ids)
        if key not in number:
            number[key] = len(distinct)
            distinct.append((row, ids))
        index.append(number[key])
    rewards = grade(distinct)
    return [rewards[i] for i in index]


class ValueTrainer(LengthSortedMixin, GRPOTrainer):
    """GRPO with the advantages of `value_advantages` in the place of the group's.

    They are not divided by a standard deviation: a group that is always right still learns which of its
    steps were lucky. Logged under `value/`: prefixes, mean value before the first step, mean absolute
    advantage, seconds.
    """

    def __init__(self, *args: Any, values: ValueArguments, **kwargs: Any) -> None:
        self.values = values
        super().__init__(*args, **kwargs)
        if is_sharded(self.accelerator.unwrap_model(self.model)):
            raise ValueError(
                "method value samples in every process alone, so no model may be sharded"
            )
        check_loss(self)

    def _generate_and_score_completions(self: Any, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        start = time.perf_counter()
        ids, mask = output["completion_ids"], output["completion_mask"] > 0
        prompts = [
            row[real > 0].tolist()
            for row, real in zip(output["prompt_ids"], output["prompt_mask"], strict=True)
        ]
        model = self.accelerator.unwrap_model(self.model)
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        policy = Policy(
            model, self.args.temperature, self.max_completion_length, end_tokens(model, tokenizer)
        )
        with self.accelerator.autocast():
            advantages, values = value_advantages(
                policy,
                prompts,
                [row[real].tolist() for row, real in zip(ids, mask, strict=True)],
                lambda texts: self._grade(inputs, tokenizer, texts),
                self.values,
                seed=self._value_seed(),
            )
        result = torch.zeros(ids.shape, dtype=output["advantages"].dtype)
        for row, each in enumerate(advantages):
            result[row, : len(each)] = each.to(result.dtype)
        output["advantages"] = result.to(output["advantages"].device)
        figures = {
            "prefixes": float(sum(map(len, values))),
            "first": float(torch.stack([value[0] for value in values]).mean()),
            "size": float(torch.cat(advantages).abs().mean()),
            "seconds": time.perf_counter() - start,
        }
        for name, figure in figures.items():
            self._metrics["train"][f"value/{name}"].append(figure)
        return output

    def _value_seed(self: Any) -> int:
        """Another one for each batch and process, the same in a resumed run."""
        batches = self.state.global_step * self.accelerator.num_processes
        return int(1_000_003 * (self.args.seed + 1) + batches + self.accelerator.process_index)

    def _grade(
        self: Any,
        inputs: list[dict[str, Any]],
        tokenizer: Any,
        texts: Sequence[tuple[int, Sequence[int]]],
    ) -> list[float]:
        """Rewards of the task, called as by TRL; 0 where the grader could not tell."""
        decoded = tokenizer.batch_decode([list(ids) for _, ids in texts], skip_special_tokens=True)
        rows = [inputs[row] for row, _ in texts]
        columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
        (reward,) = self.reward_funcs
        return [0.0 if value is None else float(value) for value in reward(decoded, **columns)]
