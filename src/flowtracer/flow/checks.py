"""What `answer_flow` refuses, each with the row and what to do about it."""

import torch
from torch import Tensor

from flowtracer.flow.solve import AttentionRows


def check_flow_input(
    attention: Tensor | AttentionRows, question: Tensor, answer: Tensor, mode: str
) -> Tensor:
    """The largest attention of each row, (B,); 1 where it is not one dense tensor, nor checked.

    Raises ValueError unless the three describe a graph with a question and an answer.
    """
    if mode not in ("absorb", "relay"):
        raise ValueError(f"answer_tokens is {mode!r}; it must be 'absorb' or 'relay'")
    if len(attention.shape) != 3 or attention.shape[1] != attention.shape[2]:
        raise ValueError(
            f"attention has shape {tuple(attention.shape)}; it must be (B, T, T) - "
            "add a batch dimension with attention[None] if you have a single matrix"
        )
    if attention.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"attention is {attention.dtype}; convert it with attention.float()")
    for name, mask in (("question", question), ("answer", answer)):
        if mask.shape != attention.shape[:2]:
            raise ValueError(
                f"{name} has shape {tuple(mask.shape)} but attention is for {tuple(attention.shape[:2])}"
                " (B, T); both must describe the same tokens"
            )
        if mask.device != attention.device:
            raise ValueError(f"{name} is on {mask.device} but attention is on {attention.device}")
    if question.dtype != torch.bool:
        raise ValueError(f"question is {question.dtype}; it must be bool")
    if answer.dtype != torch.bool and not bool(torch.isfinite(answer).all() & (answer >= 0).all()):
        raise ValueError("answer has negative or non-finite weights; use bool or weights >= 0")

    high = torch.ones(len(question), device=attention.device)
    if isinstance(attention, Tensor) and attention.numel():
        low, high = attention.flatten(1).aminmax(dim=1)
        row = _first(~(torch.isfinite(low) & torch.isfinite(high)))
        if row is not None:
            raise ValueError(
                f"row {row}: attention has NaN or infinite values; padding rows must be 0, and a "
                "half-precision model may need float32"
            )
        row = _first(low < 0)
        if row is not None:
            raise ValueError(
                f"row {row}: attention has negative values; pass probabilities, not logits"
            )
    row = _first(~question.any(1))
    if row is not None:
        raise ValueError(f"row {row}: no question token is marked; mark the prompt's tokens")
    row = _first(~(answer > 0).any(1))
    if row is not None:
        raise ValueError(
            f"row {row}: no answer token is marked; leave this row out or choose another answer rule"
        )
    return high


def check_in_range(sound: Tensor, dtype: torch.dtype) -> None:
    """Raise ValueError for a row whose influence overflowed, or was too small to follow. sound: (B,)."""
    row = _first(~sound)
    if row is not None:
        wider = "" if dtype == torch.float64 else ", or pass float64"
        raise ValueError(
            f"row {row}: influence on the answer leaves the range of {dtype}; scale attention so that "
            f"its rows sum to about 1, and answer weights to about 1{wider}"
        )


def check_reachable(fed: Tensor) -> None:
    """Raise ValueError for a row in which no question token has a path to the answer. fed: (B, T)."""
    row = _first(~fed.any(1))
    if row is not None:
        raise ValueError(
            f"row {row}: no question token can reach the answer; the answer must come after the "
            "question and some later token must attend to the question"
        )


def _first(bad: Tensor) -> int | None:
    """Index of the first True of (B,), if there is one."""
    return int(bad.int().argmax()) if bool(bad.any()) else None
