"""Unsloth is refused: what it replaces in TRL and in transformers leaves credit no place.

It patches classes that are in use, so it is recognised by the modules that their parts come from; these were
read in the source of unsloth 2026.10.9 and unsloth_zoo 2026.10.9: `unsloth.models.*` for families of models,
`unsloth_compiled_module_*` for others, and a generated module `Unsloth...Trainer` for each trainer of TRL.
"""

from torch import nn

from flowtracer.models.decoder import AttentionCaptureError

REASON = (
    "it moves the tokens of a batch to the left without their advantages and replaces the attention that "
    "credit reads; train with TRL's own trainer, without importing unsloth"
)


def check_trainer(trainer: type) -> None:
    """Raise ValueError for a trainer's class that Unsloth has generated, or that inherits from one."""
    for cls in trainer.__mro__:
        if cls.__name__.removeprefix("_").startswith("Unsloth") or from_unsloth(cls):
            raise ValueError(f"{cls.__name__} is Unsloth's trainer: {REASON}")


def check_model(model: nn.Module) -> None:
    """Raise AttentionCaptureError for a model with parts that Unsloth has replaced."""
    name = replaced_part(model)
    if name is not None:
        raise AttentionCaptureError(f"Unsloth has replaced {name}: {REASON}")


def replaced_part(model: nn.Module) -> str | None:
    """The class of a module that is Unsloth's, or whose forward is; None if there is none."""
    for module in model.modules():
        forwards = (vars(module).get("forward"), type(module).forward)
        if from_unsloth(type(module)) or any(map(from_unsloth, forwards)):
            return type(module).__name__
    return None


def from_unsloth(thing: object) -> bool:
    """Whether a class or function was defined by Unsloth, or by code that it has generated."""
    module = getattr(thing, "__module__", None) or ""
    return module.split(".")[0].lower().startswith("unsloth")
