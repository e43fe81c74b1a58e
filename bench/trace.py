"""Speed and memory of a trace, as ratios to the usual alternatives.

    make bench                        # or: python bench/trace.py --model FOLDER_OR_HUB_ID

Every ratio is taken in one process, with the two sides in turns, and is a ratio of medians.
Memory is the growth of the peak resident set over the loaded model, each case in a process of its
own (Linux). Writes a Markdown table and the raw figures.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import transformers
from measure import (
    DEFAULT_FOLDER,
    HUB_ID,
    plain_forward,
    processor,
    question_and_answer,
    resident,
    seconds,
)

from flowtracer import TokenPositions, answer_flow, mean_attention, trace
from flowtracer.attention.capture import visit_layers
from flowtracer.attention.layers import model_layers
from flowtracer.models import Loaded, load
from flowtracer.models.loading import emulates


def flow_credit(loaded: Loaded, ids: torch.Tensor) -> None:
    answer_flow(mean_attention(loaded.model, ids), *question_and_answer(ids.shape[1]))


def output_attentions(loaded: Loaded, ids: torch.Tensor) -> None:
    """The usual way: eager attention, every layer's kept, middle layers averaged, then the flow."""
    before = loaded.model.config._attn_implementation
    loaded.model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            kept = loaded.model(input_ids=ids, use_cache=False, output_attentions=True).attentions
        depth = len(kept)
        chosen = kept[depth // 3 : 2 * depth // 3]
        mean = sum(layer.float().mean(1) for layer in chosen) / len(chosen)
        answer_flow(mean, *question_and_answer(ids.shape[1]))
    finally:
        loaded.model.set_attn_implementation(before)


def without_attention(loaded: Loaded, ids: torch.Tensor) -> None:
    """The same layers with attention left out (wrong numbers): what no attention kernel can go below."""
    layers = model_layers(loaded.model, "middle")
    inputs = {"input_ids": ids, "use_cache": False}
    visit_layers(
        loaded.model, inputs, layers, lambda call: None if call.last else call.query.transpose(1, 2)
    )


def full_trace(loaded: Loaded, ids: torch.Tensor) -> None:
    """A whole `trace` of the same number of tokens: edges, routes and hubs included."""
    prompt = "Add up the numbers. "
    response = ids[0, len(loaded.tokenizer(prompt)["input_ids"]) :].tolist()
    answer = TokenPositions(tuple(range(-10, -2)))
    trace(loaded.model, loaded.tokenizer, prompt, response, answer=answer, chat=False)


CASES: dict[str, Callable[[Loaded, torch.Tensor], None]] = {
    "plain": plain_forward,
    "flow": flow_credit,
    "output_attentions": output_attentions,
    "without_attention": without_attention,
    "trace": full_trace,
}


def times_in_turns(loaded: Loaded, length: int, names: list[str], repeats: int) -> dict[str, float]:
    """Median seconds of each case, measured in turns after one warm-up of the cheapest."""
    ids = torch.randint(5, 40_000, (1, length), generator=torch.Generator().manual_seed(0))
    runs: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            runs[name].append(seconds(lambda name=name: CASES[name](loaded, ids)))
    return {name: statistics.median(values) for name, values in runs.items()}


def time_answer_flow(length: int, repeats: int = 15) -> float:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, length, length, generator=generator)
    attention = logits.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(
        -1
    )
    masks = question_and_answer(length)
    answer_flow(attention, *masks)
    return statistics.median(
        seconds(lambda: answer_flow(attention, *masks)) for _ in range(repeats)
    )


def extra_memory_here(loaded: Loaded, name: str, length: int) -> dict[str, float]:
    """Peak growth in MB, and seconds, of one case in this fresh process."""
    CASES["flow"](loaded, torch.arange(5, 69)[None])  # lazy loading is not part of the case
    ids = torch.randint(5, 40_000, (1, length), generator=torch.Generator().manual_seed(0))
    Path("/proc/self/clear_refs").write_text("5")  # peak := now
    before = resident("VmRSS")
    spent = seconds(lambda: CASES[name](loaded, ids))
    return {"mb": resident("VmHWM") - before, "seconds": spent}


def extra_memory(options: argparse.Namespace, name: str, length: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--model", options.model, "--dtype", options.dtype]
    command += ["--measure-memory", name, str(length)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(options: argparse.Namespace, loaded: Loaded) -> dict:
    result: dict = {
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "half_precision_emulated": emulates(loaded.model.device, loaded.model.dtype),
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "command": f"python bench/trace.py {' '.join(sys.argv[1:])}".strip(),
        "repeats": options.repeats,
        "answer_flow_2048_seconds": time_answer_flow(2048),
        "speed": {},
        "memory": {},
    }
    print(f"answer_flow at 2048: {result['answer_flow_2048_seconds']:.3f} s", flush=True)
    CASES["flow"](loaded, torch.arange(5, 69)[None])
    for length in options.lengths:
        names = ["plain", "flow"]
        if length <= options.longest_eager:
            names += ["output_attentions", "without_attention"]
        medians = times_in_turns(loaded, length, names, options.repeats)
        result["speed"][length] = medians
        print(f"T={length}: {medians}", flush=True)
    for length, names in options.memory_cases:
        for name in names:
            measured = extra_memory(options, name, length)
            result["memory"].setdefault(length, {})[name] = measured
            print(f"memory T={length} {name}: {measured}", flush=True)
    return result


def table(result: dict) -> str:
    """Markdown of one run."""
    lines = [
        f"{result['machine']}; {result['dtype']}"
        + (" (emulated by this processor)" if result["half_precision_emulated"] else "")
        + f"; {result['versions']}; {result['date']}; medians of {result['repeats']}.",
        "",
        "| T | plain forward with logits | mean_attention + answer_flow | ratio | output_attentions "
        "| how many times slower than ours | than ours with attention left out |",
        "|---|---|---|---|---|---|---|",
    ]
    for length, medians in result["speed"].items():
        eager = medians.get("output_attentions")
        lines.append(
            f"| {int(length):,} | {medians['plain']:.2f} s | {medians['flow']:.2f} s "
            f"| **{medians['flow'] / medians['plain']:.2f}** "
            + (
                f"| {eager:.2f} s | **{eager / medians['flow']:.1f}** "
                f"| {eager / medians['without_attention']:.1f} |"
                if eager
                else "| | | |"
            )
        )
    lines += ["", "| T | what | extra memory | time |", "|---|---|---|---|"]
    described = {
        "flow": "mean_attention + answer_flow",
        "output_attentions": "the same through output_attentions",
        "trace": "a whole trace: edges, routes, hubs",
    }
    for length, cases in result["memory"].items():
        for name, case in cases.items():
            memory, spent = f"{case['mb']:,.0f} MB", f"{case['seconds']:.1f} s"
            lines.append(f"| {int(length):,} | {described[name]} | {memory} | {spent} |")
    lines += ["", f"answer_flow alone at T = 2,048: {result['answer_flow_2048_seconds']:.3f} s."]
    return "\n".join(lines)


def main() -> None:
    folder = DEFAULT_FOLDER.expanduser() / "smollm2"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(folder) if folder.is_dir() else HUB_ID)
    parser.add_argument("--dtype", default="bfloat16", help="bfloat16, float32 or auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="*", default=[512, 1024, 2048])
    parser.add_argument(
        "--longest-eager", type=int, default=2048, help="output_attentions up to here"
    )
    parser.add_argument("--memory-lengths", type=int, nargs="*", default=[2048, 8192, 16384])
    parser.add_argument("--out", type=Path, help="write the raw figures here as JSON")
    parser.add_argument("--measure-memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.memory_cases = [
        (n, ["flow", "output_attentions"] if n <= options.longest_eager else ["trace"])
        for n in options.memory_lengths
    ]
    loaded = load(options.model, dtype=options.dtype, device="cpu")
    if options.measure_memory:
        name, length = options.measure_memory
        print(json.dumps(extra_memory_here(loaded, name, int(length))))
        return
    result = measure(options, loaded)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n" + table(result))


if __name__ == "__main__":
    main()
