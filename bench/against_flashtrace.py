"""Speed beside FlashTrace, in one process on the same texts, as ratios.

    pip install '.[flashtrace]'
    python bench/against_flashtrace.py --model FOLDER_OR_HUB_ID

Cases take turns and a ratio is taken in each round; the table has medians over rounds. A text of T random
tokens is a prompt of T / 5 and a response with eight answer tokens near its end. FlashTrace is called as
its users call it (method "flashtrace", one hop, attention kept), and with attention computed again,
which it offers to save memory. Its eager attention is switched on before its time is taken, and it is
given the token ids, so that nothing is tokenised.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from flashtrace import FlashTrace
from measure import (
    DEFAULT_FOLDER,
    HUB_ID,
    plain_forward,
    processor,
    question_and_answer,
    seconds,
)

from flowtracer import TokenPositions, answer_flow, mean_attention, trace
from flowtracer.models import Loaded, load
from flowtracer.models.loading import emulates
from flowtracer.regions import decode_with_offsets
from flowtracer.scorers.flashtrace import KnownTokens

Case = Callable[[], object]
OURS = {
    "flow": "mean_attention + answer_flow, what training needs",
    "trace": "a whole `trace`: edges, routes, hubs",
}
THEIRS = {
    "flashtrace": "FlashTrace",
    "recomputed": "FlashTrace, attention computed again",
}


def ours(loaded: Loaded, ids: torch.Tensor) -> dict[str, Case]:
    """What is timed of this project, and a plain forward with logits."""
    masks = question_and_answer(ids.shape[1])
    prompt = "Add up the numbers. "
    response = ids[0, len(loaded.tokenizer(prompt)["input_ids"]) :].tolist()
    answer = TokenPositions(tuple(range(-10, -2)))
    return {
        "plain": lambda: plain_forward(loaded, ids),
        "flow": lambda: answer_flow(mean_attention(loaded.model, ids), *masks),
        "trace": lambda: trace(
            loaded.model, loaded.tokenizer, prompt, response, answer=answer, chat=False
        ),
    }


def theirs(loaded: Loaded, ids: torch.Tensor) -> dict[str, Case]:
    """FlashTrace on the same tokens, with attention kept and computed again."""
    question, answer = (mask[0] for mask in question_and_answer(ids.shape[1]))
    prompt, target = (
        decode_with_offsets(loaded.tokenizer, ids[0, part].tolist())
        for part in (question, ~question)
    )
    positions = answer[~question].nonzero()[:, 0].tolist()
    known = KnownTokens(prompt, target, end_id=loaded.tokenizer.eos_token_id or 0)

    def run(recompute: bool) -> object:
        tracer = FlashTrace(loaded.model, known, recompute_attention=recompute)
        span = (positions[0], positions[-1])
        return tracer.trace(prompt=prompt.text, target=target.text, output_span=span)

    return {"flashtrace": lambda: run(False), "recomputed": lambda: run(True)}


def rounds(loaded: Loaded, length: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of every case in every round, after one round that does not count."""
    ids = torch.randint(5, 40_000, (1, length), generator=torch.Generator().manual_seed(0))
    cases = ours(loaded, ids) | theirs(loaded, ids)
    attention = loaded.model.config._attn_implementation
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(repeats + 1):
        for name, case in cases.items():
            loaded.model.set_attn_implementation("eager" if name in THEIRS else attention)
            took = seconds(case)
            if number:
                spent[name].append(took)
    loaded.model.set_attn_implementation(attention)
    return spent


def ratio(spent: dict[str, list[float]], name: str, other: str) -> float:
    """Median over rounds of how many times as long the one takes as the other."""
    return statistics.median(a / b for a, b in zip(spent[name], spent[other], strict=True))


def table(result: dict) -> str:
    """Markdown of one run."""
    lines = [
        f"{result['machine']}; {result['dtype']}"
        + (" (emulated by this processor)" if result["half_precision_emulated"] else "")
        + f"; {result['versions']}; {result['date']}; medians of {result['repeats']} rounds.",
        "",
    ]
    names = ["plain", *OURS, *THEIRS]
    titles = ["plain forward", *OURS, *THEIRS.values()]
    pairs = [(baseline, other) for other in OURS for baseline in THEIRS]
    titles += [f"{THEIRS[baseline]} / {other}" for baseline, other in pairs]
    lines += ["| T | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for length, spent in result["seconds"].items():
        cells = [f"{statistics.median(spent[name]):.2f} s" for name in names]
        cells += [f"**{ratio(spent, baseline, other):.1f}**" for baseline, other in pairs]
        lines.append(f"| {int(length):,} | " + " | ".join(cells) + " |")
    lines += ["", "; ".join(f"{name}: {what}" for name, what in OURS.items()) + "."]
    return "\n".join(lines)


def main() -> None:
    folder = DEFAULT_FOLDER.expanduser() / "smollm2"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(folder) if folder.is_dir() else HUB_ID)
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="*", default=[128, 512, 1024, 2048])
    parser.add_argument("--out", type=Path, help="write the raw figures here as JSON")
    options = parser.parse_args()
    loaded = load(options.model, dtype=options.dtype, device="cpu")
    result = {
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "half_precision_emulated": emulates(loaded.model.device, loaded.model.dtype),
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"flashtrace {version('flashtrace')}",
        "command": f"python bench/against_flashtrace.py {' '.join(sys.argv[1:])}".strip(),
        "repeats": options.repeats,
        "seconds": {},
    }
    for length in options.lengths:
        result["seconds"][length] = rounds(loaded, length, options.repeats)
        print(f"T={length}: {result['seconds'][length]}", flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n" + table(result))


if __name__ == "__main__":
    main()
