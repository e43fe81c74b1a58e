"""A long prompt that runs once for all responses to it, beside one that runs for each."""

from functools import partial
from typing import Any

import torch
from gpu_timing import medians, peak_gb

from flowtracer.credit import Credit
from flowtracer.credit.credit import token_scores
from flowtracer.scorers.batch import ScoreBatch

RESPONSES, NEW = 8, 512  # to each prompt, and tokens of each


def measure_prompt(model: Any, length: int, repeats: int) -> dict[str, Any]:
    """Responses to one long prompt, which runs once for all of them, or once for each.

    difference: the largest between both ways' throughput, as a part of the largest throughput.
    """
    device = model.device
    prompt = torch.randint(3, 97, (1, length), device=device).expand(RESPONSES, -1)
    ids = torch.cat([prompt, torch.randint(3, 97, (RESPONSES, NEW), device=device)], 1)
    position = torch.arange(length + NEW, device=device).expand(RESPONSES, -1)
    question = position < length
    answer = (position >= length + NEW - 10).float()
    batch = ScoreBatch(ids, torch.ones_like(ids), question, ~question, answer)

    def throughput(share: bool) -> torch.Tensor:
        return token_scores(model, batch, ["flow"], Credit().options, share_prompts=share)["flow"]

    shared, apart = throughput(True), throughput(False)
    cases = {"shared": partial(throughput, True), "apart": partial(throughput, False)}
    result: dict[str, Any] = {
        "difference": float((shared - apart).abs().max() / apart.max()),
        "seconds": medians(cases, device, repeats),
    }
    if device.type == "cuda":
        result["peak_gb"] = {name: peak_gb(case) for name, case in cases.items()}
    return result
