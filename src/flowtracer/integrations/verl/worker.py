"""verl's actor worker with one more method, the weights of its part of a batch, or with weights beside the
log-probabilities that it computes.

The trainer puts this class in the place of verl's own, as verl's asynchronous trainer does with a
class of its own. Ray pickles it by name, so a worker process imports this module by itself: it needs
flowtracer installed on its node, but no environment variable and no plug-in to be loaded there.
"""

from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed
from tensordict import TensorDict
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from verl.single_controller.base.decorator import (
    Dispatch,
    make_nd_compute_dataproto_dispatch_fn,
    register,
)
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id, get_device_name
from verl.workers.engine_workers import ActorRolloutRefWorker

from flowtracer.credit import Credit, structural_vocabulary
from flowtracer.credit.riding import RiddenCredit, why_not_ridden
from flowtracer.integrations.verl.settings import KEY, check_engine, read_credit
from flowtracer.integrations.verl.weights import (
    FIELDS,
    of_responses,
    padded_batch,
    response_weights,
)
from flowtracer.models.decoder import check_text_only, find_decoder

WEIGHTS = "flow_weights"
SUMS = "flow_sums"


class FlowActorWorker(ActorRolloutRefWorker):
    """Computes weights with the policy that it trains, where that policy is."""

    _delimiters: Tensor | None = None

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        """verl's own, then a check of the engine, so that it is refused before the first step."""
        super().init_model()
        check_readable(self.actor.engine)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def compute_flow_weights(self, data: TensorDict) -> TensorDict:
        """Fields `flow_weights` (jagged, response tokens) and `flow_sums` (B, 10) of these rows.

        data: the tensors of `weights.FIELDS` and the settings under `flow_credit`.
        """
        engine = self.actor.engine
        credit = read_credit(tu.get_non_tensor_data(data, key=KEY, default=None))
        with engine.eval_mode(), autocast(engine):
            weights, sums = response_weights(
                engine.module,
                tokenizer_of(engine),
                {name: data[name] for name in FIELDS},
                credit,
                device=get_device_id(),
                all_reduce_max=all_reduce_max,
                delimiters=self._find_delimiters(engine, credit),
            )
        return TensorDict({WEIGHTS: weights, SUMS: sums}, batch_size=len(sums)).cpu()

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def compute_log_prob(self, data: TensorDict) -> TensorDict:
        """verl's own; where settings come under `flow_credit`, with `flow_weights` and `flow_sums`.

        The sums are of all rows that can be scored: advantages are not known yet.
        """
        if KEY not in data.keys():  # noqa: SIM118, a TensorDict iterates over its rows
            return super().compute_log_prob(data)
        engine = self.actor.engine
        credit = read_credit(tu.pop(data, key=KEY))
        tensors = {name: data[name] for name in FIELDS if name != "advantages"}
        batch = padded_batch(
            tokenizer_of(engine),
            tensors,
            answer=credit.answer,
            steps=credit.steps,
            delimiters=self._find_delimiters(engine, credit),
            device=get_device_id(),
        )
        ridden = RiddenCredit(engine.module, batch, credit, by_tokens=True)
        possible = why_not_ridden(engine.module, credit) is None
        with ridden.observing() if possible else nullcontext():
            output = super().compute_log_prob(data)
        if all_reduce_max(int(not ridden.complete)):
            with engine.eval_mode(), autocast(engine):
                weights, sums = response_weights(
                    engine.module,
                    tokenizer_of(engine),
                    tensors,
                    credit,
                    device=get_device_id(),
                    all_reduce_max=all_reduce_max,
                    delimiters=self._delimiters,
                )
        else:
            weights, sums = of_responses(tensors, batch, ridden.credit(), batch.scorable)
        if output is not None:  # None in processes whose output verl does not collect
            output[WEIGHTS], output[SUMS] = weights.cpu(), sums.cpu()
        return output

    def _find_delimiters(self, engine: Any, credit: Credit) -> Tensor | None:
        if credit.needs_structure and self._delimiters is None:
            self._delimiters = structural_vocabulary(tokenizer_of(engine))
        return self._delimiters


def check_readable(engine: Any) -> None:
    """Refuse, in one sentence, an engine whose model's attention cannot be read."""
    check_engine(engine.engine_config.strategy, engine.ulysses_sequence_parallel_size)
    tokenizer_of(engine)
    config = engine.model_config.hf_config
    check_text_only(config, str(config.model_type))
    find_decoder(engine.module)


def tokenizer_of(engine: Any) -> PreTrainedTokenizerBase:
    """The tokenizer that verl loaded with the model."""
    tokenizer = engine.model_config.tokenizer
    if tokenizer is None:
        raise ValueError(
            "the actor has no tokenizer to find answers with; set model.load_tokenizer=True"
        )
    return tokenizer


def autocast(engine: Any) -> Any:
    """The precision of the engine's own forward."""
    dtype = getattr(engine, "_autocast_dtype", torch.bfloat16)
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device_type=get_device_name(), dtype=dtype)


def all_reduce_max(forwards: int) -> int:
    """The maximum over all processes: the calls of a sharded model have to match."""
    count = torch.tensor(forwards, device=get_device_id())
    torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.MAX)
    return int(count)
