"""Find out how reasoning flows from a prompt to its answer inside a language model.

    from flowtracer import load, trace
    loaded = load("Qwen/Qwen3-0.6B")
    result = trace(loaded.model, loaded.tokenizer, "What is 17 * 23?", answer="auto")
    result.save("trace.json")

Names are imported when they are first used, so that the command line can print help at once.
`FlowGRPOTrainer`, `FlowRLOOTrainer` and `FlowAsyncGRPOTrainer` need the extra flowtracer[train] and are left
out of `from flowtracer import *`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowtracer.attention import AttentionCaptureError, mean_attention
    from flowtracer.credit import (
        Calibrated,
        Credit,
        Selection,
        Weighting,
        apply_credit,
        sequence_credit,
        token_credit,
    )
    from flowtracer.flow import AnswerFlow, answer_flow
    from flowtracer.integrations.trl import FlowGRPOTrainer as FlowGRPOTrainer
    from flowtracer.integrations.trl import FlowRLOOTrainer as FlowRLOOTrainer
    from flowtracer.integrations.trl_async import FlowAsyncGRPOTrainer as FlowAsyncGRPOTrainer
    from flowtracer.models import ModelError, load
    from flowtracer.regions import TokenPositions, find_answer
    from flowtracer.scorers import ScoreOptions
    from flowtracer.service.client import ScorerClient
    from flowtracer.service.rows import TokenWeights
    from flowtracer.service.scorer import Scorer
    from flowtracer.tracing.data import Trace
    from flowtracer.tracing.file import TraceFileError, load_trace, save_trace
    from flowtracer.tracing.trace import AnswerNotFound, trace

_NAMES = {
    "attention": ("AttentionCaptureError", "mean_attention"),
    "credit": (
        "Calibrated", "Credit", "Selection", "Weighting", "apply_credit", "sequence_credit",
        "token_credit",
    ),
    "flow": ("AnswerFlow", "answer_flow"),
    "integrations.trl": ("FlowGRPOTrainer", "FlowRLOOTrainer"),
    "integrations.trl_async": ("FlowAsyncGRPOTrainer",),
    "models": ("ModelError", "load"),
    "regions": ("TokenPositions", "find_answer"),
    "scorers": ("ScoreOptions",),
    "service.client": ("ScorerClient",),
    "service.rows": ("TokenWeights",),
    "service.scorer": ("Scorer",),
    "tracing.data": ("Trace",),
    "tracing.file": ("TraceFileError", "load_trace", "save_trace"),
    "tracing.trace": ("AnswerNotFound", "trace"),
}  # fmt: skip
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(set(_HOME) - {name for name in _HOME if name.endswith("Trainer")})


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flowtracer' has no attribute {name!r}")
    try:
        return getattr(import_module(f"flowtracer.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"flowtracer.{name} needs the package {error.name}; install it with "
            "`pip install 'flowtracer[train]'`"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
