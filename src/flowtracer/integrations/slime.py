"""Flow credit in slime: each token's advantage times its weight.

    python -m flowtracer.integrations.slime train.py ... --custom-config-path FILE

with `flow_credit: {url: http://HOST:8642, token: ...}` in that YAML file.

slime trains Megatron models, whose attention cannot be read, so the weights come from a separate scorer
(`scored`). The advantages are slime's, by whichever of its estimators is chosen.
"""

import runpy
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor

from flowtracer.integrations.scored import (
    KEY,
    ResponseWeights,
    ScorerSettings,
    check_server,
    own_scorer,
    read_settings,
    response_weights,
    weight_figures,
    weighted,
)

HERE = "flowtracer.integrations.slime"
# Estimators whose advantages are zero in each token where a response's reward, less its group's, is zero.
GROUPED = ("grpo", "cispo")


def check_settings(args: Namespace) -> ScorerSettings:
    """The settings under `flow_credit`.

    Raises ValueError, in one sentence, for what slime would run without giving credit, or in which
    credit per token has no meaning.
    """
    settings = read_settings(getattr(args, KEY, None))
    if not args.compute_advantages_and_returns:
        raise ValueError(
            "disable_compute_advantages_and_returns is set: there are no advantages to weigh; leave it out"
        )
    if args.loss_type != "policy_loss":
        raise ValueError(
            f"loss_type is {args.loss_type!r}: credit weighs the advantages of 'policy_loss' only"
        )
    if args.advantage_estimator == "gspo":
        raise ValueError(
            "advantage_estimator is 'gspo', whose ratio joins the gradients of all tokens of a response, so "
            "that a token's weight is not its own; use another one"
        )
    ours = _ours(args)
    if all(ours):
        raise ValueError(
            "custom_advantage_function_path and rollout_data_postprocess_path would both weigh the "
            "advantages; keep one"
        )
    if args.normalize_advantages and ours[0]:
        raise ValueError(
            "normalize_advantages whitens the advantages after they were weighed; leave it out, or weigh "
            "them later by --rollout-data-postprocess-path flowtracer.integrations.slime.weigh_advantages "
            "instead of --custom-advantage-function-path"
        )
    if args.multimodal_keys:
        raise ValueError(
            "multimodal_keys is set, but the scorer reads text only; train without credit"
        )
    return settings


def check_start(args: Namespace) -> None:
    """`--custom-megatron-init-path`: what is wrong ends the run before a model is loaded."""
    check_server(check_settings(args))


def compute_advantages(args: Namespace, rollout_data: dict[str, Any]) -> None:
    """`--custom-advantage-function-path`: slime's advantages and returns, then the weights.

    The returns, which a critic learns from, are slime's.
    """
    from slime.backends.megatron_utils.loss import compute_advantages_and_returns

    settings = check_settings(args)
    # The penalty of distillation is added by the caller, afterwards and once.
    unhooked = {**vars(args), "custom_advantage_function_path": None, "use_opd": False}
    compute_advantages_and_returns(Namespace(**unhooked), rollout_data)
    _weigh(args, settings, rollout_data)


def weigh_advantages(args: Namespace, rollout_id: int, rollout_data: dict[str, Any]) -> None:
    """`--rollout-data-postprocess-path`: weights after whitening and after distillation's penalty."""
    settings = check_settings(args)
    if "advantages" in rollout_data:  # the last stage of a pipeline
        _weigh(args, settings, rollout_data)


def _weigh(args: Namespace, settings: ScorerSettings, rollout_data: dict[str, Any]) -> None:
    from slime.backends.megatron_utils.cp_utils import slice_log_prob_with_cp

    if settings.neutral:
        return
    masks: list[Tensor] = rollout_data["loss_masks"]
    informative = informative_rows(args, rollout_data["rewards"])
    result = shared_weights(settings, rollout_data["tokens"], masks, informative)
    rows = zip(
        rollout_data["advantages"],
        result.weights,
        masks,
        rollout_data["total_lengths"],
        strict=True,
    )
    rollout_data["advantages"] = [
        # Of each response a rank of context parallelism has two slices, one after the other.
        weighted(
            advantage, *(slice_log_prob_with_cp(full, total, len(mask)) for full in (row, mask))
        )
        for advantage, row, mask, total in rows
    ]
    for name, values in weight_figures(result, masks).items():
        rollout_data[f"credit/{name}"] = values  # slime logs the mean of each list


def informative_rows(args: Namespace, rewards: Sequence[float]) -> list[bool]:
    """Whether a response's advantages can be other than zero."""
    only_rewards = args.advantage_estimator in GROUPED and not (
        args.normalize_advantages or args.use_opd
    )
    return [not only_rewards or reward != 0 for reward in rewards]


def shared_weights(
    settings: ScorerSettings,
    tokens: Sequence[Tensor],
    masks: Sequence[Tensor],
    informative: Sequence[bool],
) -> ResponseWeights:
    """Weights of each response, computed by one process of those that hold the same responses.

    These are the ranks of tensor and context parallelism. Raises RuntimeError in all of them where the
    scorer fails.
    """
    from megatron.core import mpu

    group = mpu.get_tensor_and_context_parallel_group()
    shared: list[Any] = [None]
    if dist.get_rank(group) == 0:
        try:
            shared = [response_weights(own_scorer(settings), tokens, masks, informative)]
        except Exception as error:  # the others wait for an answer
            shared = [f"{type(error).__name__}: {error}"]
    if dist.get_world_size(group) > 1:
        dist.broadcast_object_list(shared, src=dist.get_process_group_ranks(group)[0], group=group)
    if isinstance(shared[0], str):
        raise RuntimeError(f"the scorer of {KEY} failed: {shared[0]}")
    result: ResponseWeights = shared[0]
    return result


def with_credit(args: Namespace) -> Namespace:
    """slime's arguments, checked, with the function that weighs where none was named.

    The later hook is chosen if advantages are whitened or the first hook is in use.
    """
    if not any(_ours(args)):
        if args.custom_advantage_function_path is None and not args.normalize_advantages:
            args.custom_advantage_function_path = f"{HERE}.compute_advantages"
        elif args.rollout_data_postprocess_path is None:
            args.rollout_data_postprocess_path = f"{HERE}.weigh_advantages"
        else:
            raise ValueError(
                "rollout_data_postprocess_path is in use, and custom_advantage_function_path is too or "
                f"comes before the whitening; call {HERE}.weigh_advantages in your own function"
            )
    check_start(args)
    return args


def _ours(args: Namespace) -> list[bool]:
    """Whether the first and the later hook are functions of this module."""
    paths = (args.custom_advantage_function_path, args.rollout_data_postprocess_path)
    return [path is not None and path.startswith(HERE) for path in paths]


def main() -> None:
    """Run slime's script that is named first, its arguments checked before it starts Ray."""
    if len(sys.argv) < 2:
        raise SystemExit(f"usage: python -m {HERE} train.py [slime's arguments]")
    from slime.utils import arguments

    parse = arguments.parse_args
    arguments.parse_args = lambda *args, **kwargs: with_credit(parse(*args, **kwargs))
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
