"""What credit costs on a GPU: correctness, seconds, memory, and the paper's table 6, in one go.

    make gpu        or        python bench/gpu.py --out runs/gpu

Needs no network: models have random weights in the shape of Qwen3-0.6B and Qwen3-4B. Seconds are medians of
whole runs, the GPU waited for, after one that is not counted. Writes gpu.json and gpu.md; every part is
written as soon as it is known.
"""

import argparse
import gc
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_counts import Counting
from gpu_kernels import flow_error, kernel_errors
from gpu_models import SHAPES, random_model
from gpu_prompts import measure_prompt
from gpu_table import markdown
from gpu_timing import median_seconds, medians, peak_gb

from flowtracer.attention import mean_attention, select_layers, tiled_attention
from flowtracer.attention.capture import LayerCall, visit_layers
from flowtracer.attention.maskless import maskless_mean_attention
from flowtracer.attention.mean import MeanReader
from flowtracer.attention.observe import observe_layers
from flowtracer.credit import Credit, token_credit
from flowtracer.flow import send_flow
from flowtracer.kernels.availability import SWITCH
from flowtracer.kernels.head_sum import add_head_sum, layer_logsumexp
from flowtracer.kernels.sequences import Sequences
from flowtracer.scorers.batch import ScoreBatch

ROWS = {1024: 32, 8192: 4}  # of one measurement; the tables are for 64 of them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["Qwen3-0.6B", "Qwen3-4B"])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(ROWS))
    parser.add_argument("--long", type=int, default=32768, help="tokens of one long text; 0: none")
    parser.add_argument(
        "--prompts",
        nargs="*",
        type=int,
        default=[2048, 4096],
        help="tokens of a prompt that is shared",
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "no GPU is there; give --device cpu --shapes tiny --lengths 64 to try the program"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"environment": environment(device)}

    def keep(name: str, value: Any) -> None:
        result[name] = value
        (options.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "gpu.md").write_text(markdown(result))
        print(
            f"{time.perf_counter() - began:6.1f} s  {name}: {json.dumps(value)[:2000]}", flush=True
        )

    began = time.perf_counter()
    if device.type == "cuda":
        keep("errors", kernel_errors(device))
        keep("flow_errors", flow_error(device))
        keep(
            "model_errors",
            {shape: model_error(shape, device) for shape in ("tiny", *options.shapes[:1])},
        )
    for shape in options.shapes:
        model = random_model(shape, device)
        for length in options.lengths:
            keep(f"{shape} {length}", measure(model, length, ROWS.get(length, 2), options.repeats))
        for length in options.prompts:
            keep(f"{shape} {length} prompt", measure_prompt(model, length, options.repeats))
        if options.long:
            keep(f"{shape} {options.long} long", measure_long(model, options.long, options.repeats))
        del model
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    keep("seconds_of_all", time.perf_counter() - began)


def environment(device: torch.device) -> dict[str, Any]:
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    if device.type != "cuda":
        return versions
    import triton

    card = torch.cuda.get_device_properties(device)
    return versions | {
        "triton": triton.__version__,
        "card": card.name,
        "memory_gb": round(card.total_memory / 1e9, 1),
        "multiprocessors": card.multi_processor_count,
        "cuda": torch.version.cuda,
    }


def question_and_answer(rows: int, length: int, device: torch.device) -> tuple[Any, Any]:
    """The first fifth of a text is the question, eight tokens near its end the answer."""
    position = torch.arange(length, device=device).expand(rows, -1)
    return position < length // 5, (position >= length - 10) & (position < length - 2)


def model_error(shape: str, device: torch.device) -> dict[str, float]:
    """Largest distance of a model's mean attention from that of PyTorch's way, by each way to read it."""
    model = random_model(shape, device)
    layers = select_layers("middle", model.config.num_hidden_layers)
    ids = torch.randint(3, 97, (3, 200), device=device)
    mask = torch.ones_like(ids)
    mask[1, :30] = 0
    mask[2, -50:] = 0
    os.environ[SWITCH] = "0"
    expected = mean_attention(model, ids, mask)
    whole = mean_attention(model, ids)
    del os.environ[SWITCH]
    reader = MeanReader(torch.ones_like(ids), layers)
    with torch.no_grad(), observe_layers(model, layers, reader.read_layer):
        model(input_ids=ids, use_cache=False)
    padded = MeanReader(mask, layers)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad(), observe_layers(model, layers, padded.read_layer):
        model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    read = partial(maskless_mean_attention, model, ids, mask > 0, layers)
    means = {
        "moved to the left": (read(least_real=0.0), expected),
        "packed": (read(least_real=1.0), expected),
        "observed": (reader.finish(), whole),
        "observed with padding": (padded.finish(), expected),
    }
    return {name: float((mean - exact).abs().max()) for name, (mean, exact) in means.items()}


def measure(model: Any, length: int, rows: int, repeats: int) -> dict[str, Any]:
    """Seconds of `rows` responses: a plain forward, credit that rides on it, and a pass of its own."""
    device = model.device
    ids = torch.randint(3, 97, (rows, length), device=device)
    question, answer = question_and_answer(rows, length, device)
    layers = select_layers("middle", model.config.num_hidden_layers)
    calls = layer_calls(model, ids)
    heads = calls[0].query.shape[1]
    mean = torch.zeros(rows, length, length, device=device)
    sequences = Sequences.padded(torch.ones_like(ids, dtype=torch.bool))

    def plain() -> None:
        with torch.no_grad():
            model(input_ids=ids, use_cache=False, logits_to_keep=1)

    def lse(call: LayerCall) -> Any:
        options = {"queries": length, "scaling": call.scaling, "softcap": 0.0, "window": 0}
        return layer_logsumexp(call.query, call.key, sequences.table, None, **options)

    def sum_of(call: LayerCall, values: Any) -> None:
        options = {"scaling": call.scaling, "weight": 1 / (len(calls) * heads)}
        add_head_sum(mean, call.query, call.key, values, sequences, **options)

    def observed() -> None:
        reader = MeanReader(torch.ones_like(ids), layers)
        with observe_layers(model, layers, reader.read_layer):
            plain()
        send_flow(reader.finish(), question, answer)

    def own() -> None:
        send_flow(mean_attention(model, ids), question, answer)

    on_gpu = device.type == "cuda"
    cases: dict[str, Callable[[], Any]] = {"plain": plain, "observed": observed, "own": own}
    if on_gpu:
        known = lse(calls[0])
        sum_of(calls[0], known)
        cases |= {
            "logsumexp": lambda: [lse(call) for call in calls],
            "head_sum": lambda: [sum_of(call, known) for call in calls],
            "solves": lambda: send_flow(mean, question, answer),
        }
    seconds = medians(cases, device, repeats)
    seconds["ridden"] = seconds["observed"] - seconds["plain"]
    result = {"rows": rows, "layers": len(calls), "seconds": seconds}
    if on_gpu:
        del mean
        result["solves_of_64"] = solves_at_once(length, device, repeats)
        result["peak_gb"] = {
            name: peak_gb(case) for name, case in {"plain": plain, "own": own}.items()
        }
        result["score"] = score(model, ids)
        result["update_seconds"] = median_seconds(lambda: update(model, ids), device, 1)
        model.zero_grad(set_to_none=True)
        model.gradient_checkpointing_disable()
        model.eval()
    return result


def solves_at_once(length: int, device: torch.device, repeats: int) -> float | None:
    """Seconds of both solves of 64 responses in one launch; None where memory is too small for it."""
    rows = 64
    if 3 * 4 * rows * length**2 > torch.cuda.mem_get_info(device)[0]:
        return None
    attention = torch.rand(rows, length, length, device=device).tril_()
    attention /= attention.sum(-1, keepdim=True)
    question, answer = question_and_answer(rows, length, device)
    return median_seconds(lambda: send_flow(attention, question, answer), device, repeats)


def score(model: Any, ids: torch.Tensor) -> dict[str, Any]:
    """Credit of a batch that is on the host, a fifth of each row's end being padding or less."""
    rows, length = ids.shape
    question, answer = question_and_answer(rows, length, torch.device("cpu"))
    mask = torch.ones(rows, length, dtype=torch.long)
    for row in range(rows):
        cut = row * length // (5 * rows)
        mask[row, length - cut :] = 0
        answer[row] = answer[row].roll(-cut)
    batch = ScoreBatch(ids.cpu(), mask, question, mask.bool() & ~question, answer.float())
    seconds = median_seconds(lambda: token_credit(model, batch, Credit()), ids.device, 2)
    with Counting() as counting:
        token_credit(model, batch, Credit())
    counts = counting.counts
    return {
        "seconds": seconds,
        "tokens": int(mask.sum()),
        "launches": counts.launches,
        "to_host_bytes": counts.to_host_bytes,
        "host_waited": counts.questions,
    }


def layer_calls(model: Any, ids: torch.Tensor) -> list[LayerCall]:
    """Queries and keys of the middle layers, as a trainer's forward would hand them over."""
    kept: list[LayerCall] = []

    def visit(call: LayerCall) -> Any:
        if call.chosen:
            kept.append(call)
        shape = (call.query.shape[0], call.query.shape[2], call.query.shape[1], call.value.shape[3])
        return None if call.last else torch.zeros(shape, dtype=call.query.dtype, device=ids.device)

    layers = select_layers("middle", model.config.num_hidden_layers)
    visit_layers(model, {"input_ids": ids, "use_cache": False}, layers, visit)
    return kept


def update(model: Any, ids: torch.Tensor) -> None:
    """Forward and backward of a policy update, activations recomputed, 8,192 tokens at a time."""
    model.train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    rows_at_once = max(1, 8192 // ids.shape[1])
    for part in ids.split(rows_at_once):
        logits = model(input_ids=part, use_cache=False).logits
        chosen = logits[:, :-1].gather(2, part[:, 1:, None])[..., 0]
        (chosen - logits[:, :-1].logsumexp(-1)).sum().backward()


def measure_long(model: Any, length: int, repeats: int) -> dict[str, Any]:
    """One long text: a plain forward, a dense pass of its own with both solves, and the same in strips."""
    device = model.device
    ids = torch.randint(3, 97, (1, length), device=device)
    question, answer = question_and_answer(1, length, device)

    def plain() -> None:
        with torch.no_grad():
            model(input_ids=ids, use_cache=False, logits_to_keep=1)

    attention = mean_attention(model, ids)
    cases: dict[str, Callable[[], Any]] = {
        "plain": plain,
        "dense": lambda: send_flow(mean_attention(model, ids), question, answer),
        "solves": lambda: send_flow(attention, question, answer),
        "strips": lambda: send_flow(tiled_attention(model, ids), question, answer),
    }
    seconds = medians(cases, device, repeats)
    if device.type != "cuda":
        return {"seconds": seconds}
    return {
        "seconds": seconds,
        "peak_gb": {n: peak_gb(c) for n, c in cases.items() if n != "solves"},
    }


if __name__ == "__main__":
    main()
