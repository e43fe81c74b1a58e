"""Flow credit in Axolotl's GRPO, from its configuration:

    plugins: [flowtracer.integrations.axolotl.FlowCreditPlugin]
    flow_credit: {answer: boxed, ratio: 0.4}

Axolotl drops keys of a configuration that no plug-in declares, so that `trainer_cls` alone could not be
told what credit to give. The plug-in declares `flow_credit`, has it checked with the rest of the
configuration, and puts the trainer into `trainer_cls`.
"""

from collections.abc import Mapping
from typing import Any, get_args

from axolotl.core.trainers.grpo.trainer import AxolotlGRPOTrainer
from axolotl.integrations.base import BasePlugin, PluginManager
from pydantic import BaseModel, model_validator

from flowtracer.credit import Credit
from flowtracer.credit.arguments import read_credit
from flowtracer.integrations.trl import FlowCreditMixin
from flowtracer.integrations.trl_riding import CreditForward

KEY = "flow_credit"
FORWARD = "credit_forward"
TRAINER = "flowtracer.integrations.axolotl.FlowGRPOTrainer"
PLUGIN = "flowtracer.integrations.axolotl.FlowCreditPlugin"
# Options under `trl` that choose another of Axolotl's trainers, or one with a copy of TRL's methods.
ASYNCHRONOUS = ("async_prefetch", "use_data_producer")


class FlowCreditArgs(BaseModel):
    """What the plug-in adds to Axolotl's configuration: `CreditArguments`, and `credit_forward`."""

    flow_credit: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def check_flow_credit(cls, data: Any) -> Any:
        """Refuse, before a model is read, unknown options and what credit cannot work with."""
        if isinstance(data, Mapping):
            check_settings(data)
        return data


class FlowCreditPlugin(BasePlugin):
    """Axolotl's GRPO with flow credit."""

    def register(self, cfg: Any) -> None:
        """Choose the trainer with credit, unless the configuration names one."""
        if not cfg.get("trainer_cls"):
            cfg["trainer_cls"] = TRAINER

    def get_input_args(self) -> str:
        return f"{__name__}.{FlowCreditArgs.__name__}"


class FlowGRPOTrainer(FlowCreditMixin, AxolotlGRPOTrainer):
    """Axolotl's GRPO trainer with credit for the tokens that carry the answer; see `FlowCreditMixin`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = PluginManager.get_instance().cfg
        if config is None or PLUGIN not in (config.get("plugins") or ()):
            raise ValueError(
                f"trainer_cls is {TRAINER}, but the key {KEY} is dropped without its plug-in; add "
                f"{PLUGIN} to plugins"
            )
        credit, forward = check_settings(config)
        super().__init__(*args, credit=credit, credit_forward=forward, **kwargs)


def check_settings(config: Mapping[str, Any]) -> tuple[Credit, CreditForward]:
    """The credit that a configuration requests, and where its attention is read.

    Raises ValueError for a configuration under which credit is not given.
    """
    options = config.get(KEY) or {}
    if not isinstance(options, Mapping):
        raise ValueError(
            f"{KEY} is {options!r}; write options such as {{answer: gsm8k, ratio: 0.4}}"
        )
    options = dict(options)
    forward: CreditForward = options.pop(FORWARD, "auto")
    if forward not in get_args(CreditForward):
        raise ValueError(f"{KEY}.{FORWARD} is {forward!r}; use auto, own or ride")
    credit = read_credit(options, key=KEY, page="docs/axolotl.md")
    if config.get("rl") != "grpo":
        raise ValueError(f"rl is {config.get('rl')!r}: flow credit is given by rl: grpo only")
    trl = config.get("trl") or {}
    if trl.get("use_liger_loss"):
        raise ValueError(
            "trl.use_liger_loss computes the loss in a kernel that takes one advantage for a sequence; set "
            "it to false to use credit"
        )
    size = config.get("context_parallel_size") or 1
    if size > 1:
        raise ValueError(
            f"context_parallel_size is {size}: credit needs all of a response on one device, and Axolotl's "
            "trainer for it has a copy of TRL's method; set it to 1"
        )
    for name in ASYNCHRONOUS:
        if trl.get(name):
            raise ValueError(
                f"trl.{name} chooses Axolotl's asynchronous trainer, in which credit is not given; set it "
                "to false"
            )
    return credit, forward
