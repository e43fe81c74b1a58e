"""`flowtracer study gradient`: does a rule's gradient point where the reward's own gradient does?

For one fixed policy and batches of its rollouts, the gradient of equation 5 under every rule, on the
same rollouts. Its agreement with all other batches' reward gradient is what `summary` reads off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowtracer.credit import structural_vocabulary
from flowtracer.credit.rules import Rule, parse_rules
from flowtracer.credit.summary import effective_ratio, gini
from flowtracer.credit.weighting import UNIFORM
from flowtracer.gradients.backward import (
    COORDINATES,
    chosen_parameters,
    rule_gradients,
    sampled_coordinates,
)
from flowtracer.gradients.objective import (
    group_normalised,
    grpo_coefficients,
    leave_one_out,
    reward_coefficients,
)
from flowtracer.models import Loaded
from flowtracer.records import ANY, Kind
from flowtracer.storage import (
    atomic_write,
    check_settings,
    lock,
    read_rows,
    resume_rows,
    write_rows,
)
from flowtracer.studies.gradient.agreement import agreement, with_frozen
from flowtracer.studies.gradient.rollouts import (
    Group,
    RolloutBatch,
    batch_of,
    draw_groups,
    group_row,
)
from flowtracer.studies.gradient.weights import Weighing, rule_credits, weights_of
from flowtracer.studies.provenance import note_environment
from flowtracer.studies.resume import ROWS_FILE, STUDY_FILE, Progress
from flowtracer.studies.sampling import Drawing
from flowtracer.tasks import Task

GRADIENTS_FOLDER = "gradients"
SPREAD: dict[str, Kind] = dict.fromkeys(("gini", "effective_tokens", "mean_weight"), float)
FIELDS: dict[str, Kind] = {
    "batch": int, "reward": float, "responses": int, "informative": int, "rules": {ANY: SPREAD},
}  # fmt: skip
LEAST_BATCHES = 2


@dataclass(frozen=True)
class GradientStudy:
    """Which policy, which rollouts and which rules. The first rule is uniform weights."""

    model: str
    task: str
    rules: tuple[str, ...]  # one word each, no grids
    split: str = "train"
    batches: int = 16
    problems: int = 24  # of a batch
    responses: int = 8  # a problem
    temperature: float = 1.0
    max_new_tokens: int = 512
    parameters: str = "auto"
    coordinates: int = COORDINATES
    seed: int = 0
    dtype: str = "float32"  # lower precision loses small differences of gradients
    rollouts: str | None = None  # SHA-256 of a file of them, if they are not sampled
    frozen: str | None = None  # a model that scores the rules' tokens as well

    def __post_init__(self) -> None:
        if self.batches < LEAST_BATCHES:
            raise ValueError(f"batches is {self.batches}; they are compared, so use 2 or more")
        if min(self.problems, self.max_new_tokens, self.coordinates) < 1 or self.responses < 2:
            raise ValueError(
                "problems, max_new_tokens and coordinates must be at least 1, and responses at least 2"
            )
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it must be above 0 and finite")
        rules = parse_rules(self.rules)
        if not rules or rules[0].scorer != UNIFORM or len(rules) < 2:
            raise ValueError("rules must begin with 'uniform', followed by at least one other")

    @property
    def names(self) -> list[str]:
        """Of all gradients but the reward's: the rules, and those scored by the frozen model."""
        names = [rule.name for rule in parse_rules(self.rules)]
        return names if self.frozen is None else with_frozen(names)


def run_gradient(
    study: GradientStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    *,
    groups: Sequence[Group] | None = None,
    frozen: Loaded | None = None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a batch; its gradients are in the folder's `gradients`.

    groups: rollouts to use instead of drawing them, as many as the batches take. frozen: the model that
    the study names so, with the same tokenizer.

    Raises ValueError if the folder holds another study or is in use.
    """
    with lock(folder, "another study"):
        # More batches may be requested later; the first ones stay the same.
        check_settings(folder / STUDY_FILE, asdict(study), what="a study", free=("batches",))
        work = _prepare(study, loaded, task, groups, frozen)
        path = folder / ROWS_FILE
        (folder / GRADIENTS_FOLDER).mkdir(exist_ok=True)
        shape = (len(study.names) + 1, len(work.coordinates))
        complete = [
            row
            for row in read_rows(path, FIELDS)
            if _is_complete(gradient_file(folder, row["batch"]), shape)
        ]
        write_rows(path, complete)
        if len(complete) < study.batches:
            note_environment(folder)
        rows = resume_rows(
            path,
            [[batch] for batch in range(study.batches)],
            lambda number, batches: _make_rows(work, folder, batches),
            key=lambda row: row["batch"],
            fields=FIELDS,
            progress=lambda done, total: progress("batches", done, total),
        )
        return [rows[batch] for batch in range(study.batches)]


def gradient_file(folder: Path, batch: int) -> Path:
    """Gradients of a batch, (1 + R, C) float32: the reward's own, then each rule's."""
    return folder / GRADIENTS_FOLDER / f"{batch:05d}.npy"


@dataclass(frozen=True)
class _Work:
    """What every batch needs, computed once."""

    study: GradientStudy
    loaded: Loaded
    task: Task
    rules: Sequence[Rule]
    weighing: Weighing
    frozen: Weighing | None
    parameters: Sequence[nn.Parameter]
    coordinates: Tensor
    groups: Sequence[Group] | None


def _prepare(
    study: GradientStudy,
    loaded: Loaded,
    task: Task,
    groups: Sequence[Group] | None,
    frozen: Loaded | None,
) -> _Work:
    if (study.frozen is None) != (frozen is None):
        raise ValueError("a study that names a frozen model needs it loaded, and no other does")
    if frozen is not None and frozen.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise ValueError(
            f"frozen model {frozen.name} has another vocabulary than {loaded.name}; give an earlier "
            "checkpoint of the same model"
        )
    rules = parse_rules(study.rules)
    answer = task.answer_rule if groups is None else "auto"  # a file may hold answers of any task
    credits = [rule.credit(answer=answer) for rule in rules]
    for credit in credits:
        if groups is not None and credit is not None:
            credit.check_token_ids()
    parameters = chosen_parameters(loaded.model, study.parameters)
    delimiters = structural_vocabulary(loaded.tokenizer)
    return _Work(
        study,
        loaded,
        task,
        rules,
        Weighing(loaded, task, credits, answer, delimiters),
        None if frozen is None else Weighing(frozen, task, credits, answer, delimiters),
        parameters,
        sampled_coordinates(parameters, study.coordinates, seed=study.seed),
        groups,
    )


def _groups_of(work: _Work, batch: int) -> list[Group]:
    study = work.study
    if work.groups is not None:
        start = batch * study.problems
        return list(work.groups[start : start + study.problems])
    return draw_groups(
        work.loaded,
        work.task,
        batch,
        problems=study.problems,
        responses=study.responses,
        drawing=Drawing(study.max_new_tokens, study.temperature),
        seed=study.seed,
    )


def _make_rows(work: _Work, folder: Path, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        groups = _groups_of(work, batch)
        informative = [group for group in groups if group.informative]
        weights: list[Tensor] = []
        names = work.study.names
        gradients = torch.zeros(len(names) + 1, len(work.coordinates))
        rewards = [reward for group in groups for reward in group.rewards]
        row = {
            "batch": batch,
            "reward": float(np.mean(rewards)),
            "responses": len(rewards),
            "informative": len(informative),
            "groups": [group_row(group) for group in groups],
            "rules": {},
        }
        if informative:
            rollouts = batch_of(
                work.loaded,
                informative,
                answer=work.weighing.answer,
                delimiters=work.weighing.delimiters,
            )
            own = rule_credits(work.weighing, rollouts, informative)
            weights = weights_of(own, rollouts)
            if work.frozen is not None:
                frozen = rule_credits(work.frozen, rollouts, informative)
                weights += weights_of(frozen[1:], rollouts)
                row["frozen"] = {
                    rule.name: agreement(current, other, rollouts.scored.candidates)
                    for rule, current, other in zip(work.rules, own, frozen, strict=True)
                    if current is not None and other is not None
                }
            gradients = _gradients(work, rollouts, weights, total=len(rewards))
            row["rules"] = {
                name: _spread_of(weight, rollouts)
                for name, weight in zip(names, weights, strict=True)
            }
            row["answered"] = float(rollouts.scored.scorable.float().mean())
        with atomic_write(gradient_file(folder, batch)) as partial, partial.open("wb") as file:
            np.save(file, gradients.numpy())
        yield row


def _gradients(
    work: _Work, rollouts: RolloutBatch, weights: Sequence[Tensor], *, total: int
) -> Tensor:
    """Gradients of the reward and of every rule, (1 + R, C); means over all `total` responses."""
    candidates = rollouts.scored.candidates
    unbiased = leave_one_out(rollouts.rewards, rollouts.groups).float()
    normalised = group_normalised(rollouts.rewards, rollouts.groups).float()
    coefficients = torch.stack(
        [
            reward_coefficients(unbiased, candidates),
            *(grpo_coefficients(normalised, weight, candidates) for weight in weights),
        ]
    )
    # Groups without spread were left out: they add nothing but to the number of responses.
    return rule_gradients(
        work.loaded.model,
        rollouts.scored,
        coefficients * (len(rollouts.rewards) / total),
        work.parameters,
        work.coordinates,
    )


def _spread_of(weights: Tensor, rollouts: RolloutBatch) -> dict[str, float]:
    """How unequal a rule's weights are, means over responses."""
    candidates = rollouts.scored.candidates
    return {
        "gini": float(gini(weights, candidates).mean()),
        "effective_tokens": float(effective_ratio(weights, candidates).mean()),
        "mean_weight": float(weights[candidates].mean()),
    }


def _is_complete(path: Path, shape: tuple[int, int]) -> bool:
    try:
        return np.load(path, mmap_mode="r").shape == shape
    except (OSError, ValueError, EOFError):
        return False
