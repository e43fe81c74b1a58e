"""Credit of long texts in tiles, and of responses that share a prompt, beside the plain ways.

    python bench/long.py                      # or: --model FOLDER_OR_HUB_ID --lengths 4096 8192

Time of credit is that of tiles, both solves included, over one plain forward of the same text with
logits. Memory is the growth of the peak resident set over the loaded model, in a process of its own.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from measure import (
    DEFAULT_FOLDER,
    HUB_ID,
    plain_forward,
    processor,
    question_and_answer,
    resident,
    seconds,
)

from flowtracer.attention import tiled_attention
from flowtracer.credit import Credit, ScoreBatch, token_credit
from flowtracer.flow import send_flow
from flowtracer.models import Loaded, load


def tiled_credit(loaded: Loaded, ids: torch.Tensor) -> None:
    send_flow(tiled_attention(loaded.model, ids), *question_and_answer(ids.shape[1]))


def text(length: int) -> torch.Tensor:
    return torch.randint(5, 40_000, (1, length), generator=torch.Generator().manual_seed(0))


def long_text(loaded: Loaded, length: int, repeats: int) -> dict[str, float]:
    """Smallest seconds of both sides in turns: at such lengths medians would take an hour."""
    ids = text(length)
    tiled_credit(loaded, ids[:, :256])
    times: dict[str, list[float]] = {"plain": [], "tiled": []}
    for _ in range(repeats):
        times["plain"].append(seconds(lambda: plain_forward(loaded, ids)))
        times["tiled"].append(seconds(lambda: tiled_credit(loaded, ids)))
    return {name: min(values) for name, values in times.items()}


def memory_here(loaded: Loaded, length: int) -> float:
    tiled_credit(loaded, text(256))
    ids = text(length)
    Path("/proc/self/clear_refs").write_text("5")  # peak := now
    before = resident("VmRSS")
    tiled_credit(loaded, ids)
    return resident("VmHWM") - before


def shared_prompt(loaded: Loaded, repeats: int) -> dict[str, float]:
    """Eight responses of about 300 tokens to one prompt of 600, shared and plain, medians in turns."""
    import statistics

    generator = torch.Generator().manual_seed(0)
    rows, prompt, longest = 8, 600, 320
    ids = torch.randint(5, 40_000, (rows, prompt + longest), generator=generator)
    ids[:, :prompt] = ids[0, :prompt]
    ends = prompt + torch.linspace(280, longest, rows).long()[:, None]
    position = torch.arange(prompt + longest)[None]
    mask = (position < ends).long()
    answer = ((position >= ends - 6) & (position < ends - 2)).float()
    candidates = (position >= prompt) & (mask > 0)
    batch = ScoreBatch(ids, mask, position.expand(rows, -1) < prompt, candidates, answer)
    times: dict[str, list[float]] = {"plain": [], "shared": []}
    for repeat in range(repeats + 1):
        for name in times:
            spent = seconds(
                partial(token_credit, loaded.model, batch, Credit(), share_prompts=name == "shared")
            )
            if repeat:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    folder = DEFAULT_FOLDER.expanduser() / "smollm2"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(folder) if folder.is_dir() else HUB_ID)
    parser.add_argument("--dtype", default="bfloat16", help="bfloat16, float32 or auto")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="*", default=[4096, 8192, 16384, 32768])
    parser.add_argument("--out", type=Path, help="write the raw figures here as JSON")
    parser.add_argument("--measure-memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    loaded = load(options.model, dtype=options.dtype, device="cpu")
    if options.measure_memory:
        print(memory_here(loaded, options.measure_memory))
        return
    shared = shared_prompt(loaded, 3)
    result: dict = {
        "machine": processor(),
        "dtype": options.dtype,
        "shared_prompt": shared | {"ratio": shared["shared"] / shared["plain"]},
        "long": {},
    }
    print(f"shared prompt: {result['shared_prompt']}", flush=True)
    for length in options.lengths:
        command = [sys.executable, __file__, "--model", options.model, "--dtype", options.dtype]
        command += ["--measure-memory", str(length)]
        memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        times = long_text(loaded, length, options.repeats)
        ratio = times["tiled"] / times["plain"]
        result["long"][length] = times | {"ratio": ratio, "extra_mb": float(memory.split()[-1])}
        print(f"T={length}: {result['long'][length]}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
