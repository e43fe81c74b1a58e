"""What credit costs on a GPU: correctness, seconds, memory, and the paper's table 6, in one go.

    make gpu        or        python bench/gpu.py --out runs/gpu

Needs no network: models have random weights in the shape of Qwen3-0.6B and Qwen3-4B. Seconds are medians of
CUDA events after a warm-up. Writes gpu.json and gpu.md; every part is written as soon as it is known.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_kernels import flow_error, kernel_errors
from gpu_table import markdown
from transformers import AutoModelForCausalLM, Qwen3Config

from flowtracer.attention import mean_attention, select_layers, tiled_attention
from flowtracer.attention.capture import LayerCall, visit_layers
from flowtracer.flow import send_flow
from flowtracer.kernels.head_sum import add_head_sum, layer_logsumexp
from flowtracer.kernels.sequences import Sequences

SHAPES = {
    "Qwen3-0.6B": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "heads": 16,
    },
    "Qwen3-4B": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "heads": 32,
    },
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "heads": 4},
}
ROWS = {1024: 32, 8192: 4}  # of one measurement; the tables are for RESPONSES of them
RESPONSES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["Qwen3-0.6B", "Qwen3-4B"])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(ROWS))
    parser.add_argument("--long", type=int, default=32768, help="tokens of one long text; 0: none")
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
    for shape in options.shapes:
        model = random_model(shape, device)
        for length in options.lengths:
            keep(f"{shape} {length}", measure(model, length, ROWS.get(length, 2), options.repeats))
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


def random_model(shape: str, device: torch.device) -> Any:
    """A Qwen3 of this shape with random weights, in bfloat16 on a GPU."""
    sizes = dict(SHAPES[shape])
    heads = sizes.pop("heads")
    tiny = shape == "tiny"
    config = Qwen3Config(
        **sizes,
        num_attention_heads=heads,
        num_key_value_heads=2 if tiny else 8,
        head_dim=16 if tiny else 128,
        vocab_size=97 if tiny else 151_936,
        max_position_embeddings=40_960,
        tie_word_embeddings=True,
    )
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def question_and_answer(rows: int, length: int, device: torch.device) -> tuple[Any, Any]:
    """The first fifth of a text is the question, eight tokens near its end the answer."""
    position = torch.arange(length, device=device).expand(rows, -1)
    return position < length // 5, (position >= length - 10) & (position < length - 2)


def measure(model: Any, length: int, rows: int, repeats: int) -> dict[str, Any]:
    """Seconds of `rows` responses: a plain forward, credit that rides on it, and a pass of its own."""
    device = model.device
    ids = torch.randint(3, 97, (rows, length), device=device)
    question, answer = question_and_answer(rows, length, device)
    calls = layer_calls(model, ids)
    heads = calls[0].query.shape[1]
    mean = torch.zeros(rows, length, length, device=device)
    sequences = Sequences.padded(torch.ones_like(ids, dtype=torch.bool))

    def plain() -> None:
        with torch.no_grad():
            model(input_ids=ids, use_cache=False, logits_to_keep=1)

    def lse(call: LayerCall) -> Any:
        return layer_logsumexp(
            call.query, call.key, sequences.table, length, call.scaling, 0.0, 0, None
        )

    def sum_of(call: LayerCall, values: Any) -> None:
        options = {"scaling": call.scaling, "weight": 1 / (len(calls) * heads)}
        add_head_sum(mean, call.query, call.key, values, sequences, **options)

    def ridden() -> None:
        mean.zero_()
        for call in calls:
            sum_of(call, lse(call))
        send_flow(mean, question, answer)

    def own() -> None:
        send_flow(mean_attention(model, ids), question, answer)

    on_gpu = device.type == "cuda"
    cases: dict[str, Callable[[], Any]] = {"plain": plain, "own": own}
    if on_gpu:
        known = lse(calls[0])
        sum_of(calls[0], known)
        cases |= {
            "ridden": ridden,
            "logsumexp": lambda: [lse(call) for call in calls],
            "head_sum": lambda: [sum_of(call, known) for call in calls],
            "solves": lambda: send_flow(mean, question, answer),
        }
    seconds = {name: median_seconds(case, device, repeats) for name, case in cases.items()}
    result = {"rows": rows, "layers": len(calls), "seconds": seconds}
    if on_gpu:
        result["peak_gb"] = {
            name: peak_gb(case) for name, case in {"plain": plain, "own": own}.items()
        }
        result["update_seconds"] = median_seconds(lambda: update(model, ids), device, 1)
        model.zero_grad(set_to_none=True)
        model.gradient_checkpointing_disable()
        model.eval()
    return result


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
    """Forward and backward of a policy update, activations recomputed, a row at a time above 1K."""
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
    seconds = {name: median_seconds(case, device, repeats) for name, case in cases.items()}
    if device.type != "cuda":
        return {"seconds": seconds}
    return {
        "seconds": seconds,
        "peak_gb": {n: peak_gb(c) for n, c in cases.items() if n != "solves"},
    }


def median_seconds(case: Callable[[], Any], device: torch.device, repeats: int) -> float:
    case()
    runs = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        case()
        if device.type == "cuda":
            torch.cuda.synchronize()
        runs.append(time.perf_counter() - start)
    return statistics.median(runs)


def peak_gb(case: Callable[[], Any]) -> float:
    """Largest memory beyond what was taken before, in GB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    case()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 1e9, 2)


if __name__ == "__main__":
    main()
