"""What a verl configuration says about credit, and what cannot work with it.

The key `flow_credit` has the options of `flowtracer.credit.arguments.CreditArguments`:

    flow_credit: {answer: gsm8k, ratio: 0.4, emphasis: 1.5}

and `credit_forward`, "own" (the default) or "ride", see docs/verl.md.
"""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from flowtracer.attention import select_layers
from flowtracer.credit import Credit, arguments
from flowtracer.models.decoder import check_text_only
from flowtracer.models.layer_kinds import check_readable
from flowtracer.scorers.scorer import Need
from flowtracer.scorers.table import find_scorer

KEY = "flow_credit"
FORWARD = "credit_forward"
FORWARDS = ("own", "ride")
STRATEGIES = ("fsdp", "fsdp2")
# Losses of verl in which a factor on a token's advantage is a factor on its loss; tested one by one.
TOKEN_LOSSES = (
    "vanilla",
    "dppo_tv",
    "dppo_kl",
    "gspo",
    "sapo",
    "gpg",
    "cispo",
    "bypass_mode",
)
WHOLE_MODEL: frozenset[Need] = frozenset({"entropy", "alignment", "gradient"})


def read_credit(options: Mapping[str, Any] | None) -> Credit:
    """The credit of the key `flow_credit`. Raises ValueError in one sentence."""
    settings = {name: value for name, value in (options or {}).items() if name != FORWARD}
    credit = arguments.read_credit(settings, key=f"{KEY} in the configuration", page="docs/verl.md")
    credit.check_token_ids()
    if find_scorer(credit.scorer).needs & WHOLE_MODEL:
        raise ValueError(
            f"{KEY}.scorer is {credit.scorer!r}, which needs logits or gradients of an unsharded model, "
            "and verl's is sharded; choose a scorer that reads attention"
        )
    return credit


def rides(config: Any) -> bool:
    """Whether weights are to be captured in verl's own pass for log-probabilities.

    Raises ValueError for an unknown choice, and where verl has no such pass.
    """
    forward = (config.get(KEY) or {}).get(FORWARD, "own")
    if forward not in FORWARDS:
        raise ValueError(f"{KEY}.{FORWARD} is {forward!r}; use {' or '.join(FORWARDS)}")
    correction = config.algorithm.get("rollout_correction") or {}
    if forward == "ride" and correction.get("bypass_mode", False):
        raise ValueError(
            f"{KEY}.{FORWARD} is 'ride', but rollout_correction.bypass_mode leaves out the pass for "
            "log-probabilities that it rides on; use 'own'"
        )
    return bool(forward == "ride")


def check_settings(config: Any) -> Credit:
    """The credit that a complete verl configuration requests.

    Raises ValueError for everything that verl would run without giving credit, or in which credit per
    token has no meaning, before any process is started.
    """
    credit = read_credit(config.get(KEY))
    rides(config)
    if not config.trainer.get("use_v1", False):
        raise ValueError("trainer.use_v1 is off: verl's older trainer gives no credit; leave it on")
    actor = config.actor_rollout_ref.actor
    check_engine(actor.strategy, _sequence_parallel(actor))
    loss = actor.get("policy_loss", {}).get("loss_mode", "vanilla")
    if loss not in TOKEN_LOSSES:
        raise ValueError(
            f"actor.policy_loss.loss_mode is {loss!r}, in which a token's advantage is not a factor of "
            f"its loss; use one of {', '.join(TOKEN_LOSSES)}"
        )
    return credit


def check_model(credit: Credit, config: PreTrainedConfig) -> None:
    """Refuse a model, by its config, that cannot be read or has none of the credit's layers."""
    check_text_only(config, str(config.model_type))
    text = config.get_text_config()
    softmax = check_readable(text, str(config.model_type))
    select_layers(credit.options.layers, text.num_hidden_layers, softmax=softmax)


def check_engine(strategy: str, sequence_parallel: int) -> None:
    """Refuse engines whose attention cannot be read."""
    if strategy not in STRATEGIES:
        raise ValueError(
            f"actor.strategy is {strategy!r}: credit reads attention through transformers, which that "
            f"engine does not use; choose {' or '.join(STRATEGIES)}"
        )
    if sequence_parallel > 1:
        raise ValueError(
            f"ulysses_sequence_parallel_size is {sequence_parallel}: credit needs all of a response "
            "on one device; set it to 1"
        )


def _sequence_parallel(actor: Any) -> int:
    """verl has the setting twice, the older one deprecated."""
    newer = actor.get("fsdp_config", {}).get("ulysses_sequence_parallel_size", 1)
    return max(int(newer or 1), int(actor.get("ulysses_sequence_parallel_size", 1) or 1))
