"""Credit inside TRL's asynchronous GRPO trainer (`trl.experimental.async_grpo`).

Its samples arrive one by one from a worker, and are packed into rows in which shared prefixes are forwarded
once. Its loss has a flat list of trained tokens with an advantage each, which is multiplied by the token's
weight before the loss reads it. Weights come from the trainer's own model while it trains, or from a scorer
beside it while samples wait in the queue. What is relied on is listed in `RELIED_ON` and tested.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from trl.experimental.async_grpo import AsyncGRPOTrainer

from flowtracer.credit import Credit, sequence_credit, structural_vocabulary
from flowtracer.integrations.accelerated import max_over_processes, policy_of
from flowtracer.integrations.scored import Weighs
from flowtracer.integrations.trl_queue import ScoredQueue, weights_of
from flowtracer.models.padding import pad_rows

WEIGHTS = "credit_weights"  # (rows, tokens), in the order of the loss's tokens
IDS, KINDS = "credit_ids", "credit_kinds"  # (rows, samples, tokens), see `sample_tensors`
PADDING, CONTEXT, TRAINED = 0, 1, 2
# Of a packed row: its samples, in the order of the loss's tokens, and their fields; of the loss's inputs.
RELIED_ON = ("samples", "input_ids", "completion_mask", "advantage", "advantages", "token_index")

Collate = Callable[[list[Any]], dict[str, Any]]


class FlowAsyncCreditMixin:
    """Adds token-level credit to TRL's asynchronous GRPO trainer; put it before the trainer's class.

    credit: as in `FlowGRPOTrainer`; read from the trainer's own model, in a pass of its own for the
        samples of each loss, by the policy as it is when it learns from them.
    scorer: in the place of credit, a `flowtracer.Scorer`, or a `flowtracer.ScorerClient` with the address of
        `flowtracer serve --score`. It scores samples while they wait to be trained on, in the main process.

    Logged under `credit/`: ratio of trained tokens with another weight than 1, mean weight, and ratio of
    informative samples that got none.

    Raises ValueError for settings without meaning, before anything is generated.
    """

    rollout_queue: Any  # of TRL's trainer

    def __init__(
        self, *args: Any, credit: Credit | None = None, scorer: Weighs | None = None, **kwargs: Any
    ) -> None:
        if credit is not None and scorer is not None:
            raise ValueError(
                "credit has no effect beside scorer, which has a rule of its own; give one of them"
            )
        self.credit = Credit() if credit is None else credit
        self.scorer = scorer
        if self.credit.rule is not None:
            raise ValueError(
                "Calibrated takes the rollouts of a batch together, and asynchronous GRPO has none; name one "
                "rule in credit=Credit(...)"
            )
        self.credit.check_token_ids()
        super().__init__(*args, **kwargs)
        if scorer is None:
            self.credit.check_model(self.accelerator.unwrap_model(self.model))  # type: ignore[attr-defined]
        self._delimiters: Tensor | None = None

    @property
    def _weighs(self) -> bool:
        return self.scorer is not None or not self.credit.neutral

    def get_train_dataloader(self: Any) -> Any:
        if self.scorer is not None and self.accelerator.is_main_process:
            self.rollout_queue = ScoredQueue(self.rollout_queue, self.scorer)
        loader = super().get_train_dataloader()  # type: ignore[misc]
        if self._weighs:
            base = getattr(loader, "base_dataloader", loader)
            add = sample_tensors if self.scorer is None else sample_weights
            base.collate_fn = collating(base.collate_fn, add)
        return loader

    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)  # type: ignore[misc]
        finally:
            if isinstance(self.rollout_queue, ScoredQueue):
                self.rollout_queue.close()
                self.rollout_queue = self.rollout_worker.rollout_buffer

    def compute_loss(
        self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        trained = inputs["token_index"] >= 0
        ids, kinds = inputs.pop(IDS, None), inputs.pop(KINDS, None)
        weights = inputs.pop(WEIGHTS, None)
        if ids is not None:
            weights = self._own_weights(ids[0], kinds[0], inputs["advantages"][trained])
            inputs["advantages"] = inputs["advantages"].masked_scatter(
                trained, inputs["advantages"][trained] * weights
            )
        elif weights is not None:
            inputs["advantages"] = inputs["advantages"] * weights
            weights = weights[trained]
        if weights is not None:
            self._log_weights(weights)
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def _own_weights(self: Any, ids: Tensor, kinds: Tensor, advantages: Tensor) -> Tensor:
        """Weights of this process's trained tokens, from the model that learns from them.

        ids, kinds: (samples, tokens). advantages: of the trained tokens, sample after sample.
        """
        if self.credit.needs_structure and self._delimiters is None:
            self._delimiters = structural_vocabulary(self.processing_class)
        own = kinds == TRAINED
        informative = torch.zeros(own.shape, device=own.device)
        informative[own] = advantages.abs()
        with self.accelerator.autocast():
            credited = sequence_credit(
                policy_of(self),
                self.processing_class,
                ids,
                own,
                credit=self.credit,
                attention_mask=(kinds != PADDING).long(),
                row_mask=informative.any(1),
                all_reduce_max=partial(max_over_processes, self.accelerator),
                delimiters=self._delimiters,
            )
        failed = informative.any(1) & ~(credited.answered & credited.scored)
        self._log_rate("not_scored", failed.sum(), informative.any(1).sum())
        return credited.weights[own]

    def _log_weights(self: Any, weights: Tensor) -> None:
        count = torch.tensor(weights.numel(), device=weights.device)
        self._log_rate("selected", (weights != 1).sum(), count)
        self._log_rate("mean_weight", weights.sum(), count)

    def _log_rate(self: Any, name: str, part: Tensor, total: Tensor) -> None:
        """A rate over all processes, in the form in which this trainer keeps rates."""
        both = self.accelerator.reduce(torch.stack([part, total]).float(), reduction="sum")
        self._metrics["train"][f"credit/{name}"].append(tuple(both.tolist()))


class FlowAsyncGRPOTrainer(FlowAsyncCreditMixin, AsyncGRPOTrainer):
    """TRL's AsyncGRPOTrainer with credit for the tokens that carry the answer."""


def collating(collate: Collate, add: Callable[[Sequence[Any]], dict[str, Tensor]]) -> Collate:
    """A collator of TRL's rows whose batches have more tensors, the first dimension of which is the row."""

    def collated(examples: list[Any]) -> dict[str, Any]:
        (rows,) = examples
        return collate(examples) | add(rows)

    return collated


def sample_weights(rows: Sequence[Any]) -> dict[str, Tensor]:
    """What the queue's scorer found, in the order in which a row's samples are laid out for the loss."""
    weights = [
        [
            weight
            for sample in row.samples
            for weight, trained in trained_tokens(weights_of(sample["input_ids"]), sample)
            if trained
        ]
        for row in rows
    ]
    longest = max(map(len, weights))
    return {WEIGHTS: torch.tensor([row + [1.0] * (longest - len(row)) for row in weights])}


def trained_tokens(values: Sequence[Any], sample: dict[str, Any]) -> list[tuple[Any, bool]]:
    """A sample's tokens, and whether the loss has a term for each; nothing predicts the first one."""
    mask = sample["completion_mask"].tolist()
    return [(value, bool(mask[at]) and at > 0) for at, value in enumerate(values)]


def sample_tensors(rows: Sequence[Any]) -> dict[str, Tensor]:
    """The samples of all rows, padded on the right: ids, and PADDING, CONTEXT or TRAINED for each token."""
    most = max(len(row.samples) for row in rows)
    ids, kinds = [], []
    for row in rows:
        for sample in row.samples:
            ids.append(sample["input_ids"].tolist())
            kinds.append([CONTEXT + trained for _, trained in trained_tokens(ids[-1], sample)])
        ids += [[]] * (most - len(row.samples))
        kinds += [[]] * (most - len(row.samples))
    shape = (len(rows), most, -1)
    return {
        IDS: pad_rows(ids, left=False)[0].view(shape),
        KINDS: pad_rows(kinds, left=False)[0].view(shape),
    }
