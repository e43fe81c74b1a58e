"""Find out how reasoning flows from a prompt to its answer inside a language model.

    from flowtracer import load, trace
    loaded = load("Qwen/Qwen3-0.6B")
    result = trace(loaded.model, loaded.tokenizer, "What is 17 * 23?", answer="auto")
    result.save("trace.json")

Names are imported when they are first used, so that the command line can print help at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowtracer.attention import AttentionCaptureError, mean_attention
    from flowtracer.flow import AnswerFlow, answer_flow
    from flowtracer.models import ModelError, load
    from flowtracer.regions import TokenPositions, find_answer
    from flowtracer.tracing.data import Trace
    from flowtracer.tracing.file import TraceFileError, load_trace, save_trace
    from flowtracer.tracing.trace import AnswerNotFound, trace

_HOME = {
    "AnswerFlow": "flow",
    "AnswerNotFound": "tracing.trace",
    "AttentionCaptureError": "attention",
    "ModelError": "models",
    "TokenPositions": "regions",
    "Trace": "tracing.data",
    "TraceFileError": "tracing.file",
    "answer_flow": "flow",
    "find_answer": "regions",
    "load": "models",
    "load_trace": "tracing.file",
    "mean_attention": "attention",
    "save_trace": "tracing.file",
    "trace": "tracing.trace",
}

__all__ = [
    "AnswerFlow",
    "AnswerNotFound",
    "AttentionCaptureError",
    "ModelError",
    "TokenPositions",
    "Trace",
    "TraceFileError",
    "answer_flow",
    "find_answer",
    "load",
    "load_trace",
    "mean_attention",
    "save_trace",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flowtracer' has no attribute {name!r}")
    return getattr(import_module(f"flowtracer.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
