"""Credit out of the forward pass of a TRL trainer's own loss.

TRL computes log-probabilities first and reads `inputs["advantages"]` afterwards, so that weights can
be captured in that pass and set in between. What has to be known of each token is found once, when a
batch was generated, and travels with its rows through TRL's shuffling and splitting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowtracer.credit.credit import Credit
from flowtracer.credit.riding import RiddenCredit, why_not_ridden
from flowtracer.integrations.trl_loss import reads_advantages_late
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.scorer import check_choice

CreditForward = Literal["auto", "own", "ride"]
PREFIX = "credit_"
FIELDS = ("question", "candidates", "answer", "structural", "steps")
# Beside `trl.RELIED_ON`: the method that runs the policy, how its first parameters are called, and that
# the loss calls it before it reads advantages, in the dictionary that later updates see again.
RELIED_ON = ("self", "model", "input_ids")


def check_forward(credit_forward: str) -> None:
    """Raise ValueError for another value than those of `CreditForward`."""
    check_choice("credit_forward", credit_forward, CreditForward)


def riding_fields(batch: ScoreBatch) -> dict[str, Tensor]:
    """What is known of the tokens beside their ids, under names that TRL does not use."""
    values = {name: getattr(batch, name) for name in FIELDS}
    return {PREFIX + name: value for name, value in values.items() if value is not None}


def pop_batch(inputs: dict[str, Any]) -> ScoreBatch | None:
    """The batch whose fields travel in a loss's inputs, taken out of them; None if there are none.

    Later updates on the same inputs find none and leave advantages as they are.
    """
    if PREFIX + "answer" not in inputs:
        return None
    fields = {name: inputs.pop(PREFIX + name, None) for name in FIELDS}
    ids, mask = (
        torch.cat([inputs[f"prompt_{part}"], inputs[f"completion_{part}"]], 1)
        for part in ("ids", "mask")
    )
    return ScoreBatch(ids, mask, **fields)


class Ride:
    """The part of a batch that is in the loss, until all of its rows went through the policy."""

    def __init__(self, inputs: dict[str, Any], ridden: RiddenCredit) -> None:
        """inputs: of the loss."""
        self.inputs = inputs
        self.ridden = ridden
        self._passed = 0

    @contextmanager
    def observing(self, input_ids: Tensor, rows: Tensor | None) -> Iterator[None]:
        """A block in which the policy runs on these tokens (R, T), of these rows (R,); None: all.

        Tokens that are not the batch's are ignored.
        """
        known = self.ridden.batch.input_ids
        known = (known if rows is None else known[rows])[:, : input_ids.shape[1]]
        if torch.equal(known, input_ids):
            with self.ridden.observing():
                yield
        else:
            yield
        self._passed += len(input_ids)

    @property
    def is_over(self) -> bool:
        """Whether all rows went through the policy."""
        return self._passed >= len(self.ridden.batch.input_ids)


def why_not_ride(trainer: Any, model: nn.Module, credit: Credit) -> str | None:
    """Why a trainer's credit takes a pass of its own, in a few words; None: it need not."""
    reason = why_not_ridden(model, credit)
    in_advantages = trainer.weights_in == "advantages"
    if reason is None and in_advantages and not reads_advantages_late(trainer):
        reason = f"the loss of {type(trainer).__name__} reads advantages before log-probabilities"
    return reason
