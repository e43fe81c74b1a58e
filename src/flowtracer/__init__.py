"""Find out how reasoning flows from a prompt to its answer inside a language model.

    from flowtracer import load, trace
    loaded = load("Qwen/Qwen3-0.6B")
    result = trace(loaded.model, loaded.tokenizer, "What is 17 * 23?", answer="auto")
    result.save("trace.json")
"""

from flowtracer.attention import AttentionCaptureError, mean_attention
from flowtracer.flow import AnswerFlow, answer_flow
from flowtracer.models import ModelError, load
from flowtracer.regions import find_answer
from flowtracer.trace import AnswerNotFound, Trace, trace
from flowtracer.trace_file import TraceFileError, load_trace, save_trace

__all__ = [
    "AnswerFlow",
    "AnswerNotFound",
    "AttentionCaptureError",
    "ModelError",
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
