"""The tables of docs/scale.md: what bench/cost.py counts, beside results/gpu/gpu.json and the paper.

python bench/cost_tables.py
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cost import (
    TOKENS,
    Shape,
    fits_dense,
    forward,
    head_sum,
    kept_bytes,
    logsumexp,
    own_pass,
    riding,
    solves,
    strips,
    truncated,
    update,
)
from cost_rates import H100, H200, Device, Parts, reached, seconds

MEASURED = Path(__file__).parents[1] / "results" / "gpu" / "gpu.json"
MODELS = {
    shape.name: shape
    for shape in (
        Shape("Qwen3-0.6B", 28, 1024, 3072, 16, 8, 128, 151_936),
        Shape("Qwen3-4B", 36, 2560, 9728, 32, 8, 128, 151_936),
        Shape("Qwen3-8B", 36, 4096, 12_288, 32, 8, 128, 151_936),
        Shape("Qwen3-32B", 64, 5120, 25_600, 64, 8, 128, 151_936),
    )
}
SMOLLM2 = Shape("SmolLM2-135M", 30, 576, 1536, 9, 3, 64, 49_152)
LENGTHS = (1024, 8192, 32_768, 131_072)
RESPONSES = 64
BATCH = 512  # responses of a step, section 4 of the paper
GPUS = (8, 64, 256, 1024)
PAPER = {  # table 6: seconds of a step and of credit
    ("Qwen3-4B", 1024): (71.0, 1.57),
    ("Qwen3-4B", 8192): (189.7, 8.55),
    ("Qwen3-8B", 1024): (79.0, 1.66),
    ("Qwen3-8B", 8192): (275.3, 11.04),
}
UPDATE_TOKENS = 8192  # of one call in an update, as in bench/gpu.py

Ways = dict[str, Callable[[Shape, int, int, Device], Parts]]
Text = tuple[Shape, int]  # a model and a text's tokens
WAYS: Ways = {
    "plain forward": lambda model, texts, length, device: forward(model, texts, length),
    "riding": riding,
    "riding, padded": lambda *case: riding(*case, padded=True),
    "own pass": own_pass,
    "log-sum-exp": lambda *case: {"": logsumexp(*case).times(case[0].chosen)},
    "sum over heads": lambda *case: {"": head_sum(*case).times(case[0].chosen)},
    "solves": lambda model, texts, length, device: solves(texts, length),
    "strips": lambda model, texts, length, device: strips(model, length, device),
    "update": lambda model, texts, length, device: update(model, texts, length),
}


def seconds_of_texts(
    way: str, model: Shape, texts: float, length: int, device: Device, *, tokens: int = TOKENS
) -> float:
    """Seconds of so many texts, in calls of at most so many tokens each."""
    calls = math.ceil(texts / max(1, tokens // length))
    return calls * seconds(WAYS[way](model, round(texts / calls), length, device), device)


def own_way(model: Shape, length: int, device: Device) -> str:
    """How a pass of its own reads texts of this length."""
    return "own pass" if fits_dense(model, length, device) else "strips"


def table(head: str, rows: list[list[str]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + "---|" * columns]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def in_parts(model: Shape, length: int, device: Device) -> str:
    """Each part of RESPONSES texts, at full rates."""
    rows = []
    per_call = TOKENS // length
    calls = RESPONSES / per_call
    names = ("plain forward", "log-sum-exp", "sum over heads", "solves", "riding", "own pass")
    for name in names:
        parts = WAYS[name](model, per_call, length, device)
        rows.append([name, *_counts(parts, calls), f"{calls * seconds(parts, device):.3g} s"])
    parts = WAYS["solves"](model, RESPONSES, length, device)
    rows.insert(
        4, [f"solves of all {RESPONSES}", *_counts(parts, 1), f"{seconds(parts, device):.3g} s"]
    )
    for name in ("own pass", "strips"):
        parts = WAYS[name](model, 1, 32_768, device)
        label = f"one text of 32,768 tokens, {'dense' if name == 'own pass' else name}"
        rows.append([label, *_counts(parts, 1), f"{seconds(parts, device):.3g} s"])
    return table(
        "part | products, TFLOP | bytes, GB | exponentials, 10^9 | launches | seconds", rows
    )


def _counts(parts: Parts, calls: float) -> list[str]:
    def total(name: str) -> float:
        return calls * sum(getattr(work, name) for work in parts.values())

    return [
        digits(total("products") / 1e12),
        f"{total('bytes') / 1e9:,.0f}",
        f"{total('exponentials') / 1e9:,.0f}",
        f"{total('launches'):,.0f}",
    ]


def by_model(device: Device) -> str:
    """Ratios and seconds of RESPONSES texts, memory of one call."""
    rows = []
    for model in MODELS.values():
        for length in LENGTHS:
            way = own_way(model, length, device)
            dense = way == "own pass"
            cells = []
            for rates in (device, reached(device)):
                plain, ride, padded, own = (
                    seconds_of_texts(name, model, RESPONSES, length, rates)
                    for name in ("plain forward", "riding", "riding, padded", way)
                )
                cells += [f"{ride / plain:.3f}" if dense else "-", f"{own / plain:.2f}"]
            texts = max(1, TOKENS // length)
            memory = kept_bytes(model, texts, length, dense=dense) / 1e9
            fits = memory < (device.memory - 2 * model.parameters) / 1e9
            rows.append(
                [model.name, f"{length:,}", "dense" if dense else way, *cells, digits(plain)]
                + ([f"{ride:.2g}", f"{padded:.2g}"] if dense else ["-", "-"])
                + [digits(own), f"{memory:.2f} GB" + ("" if fits else ", too much")]
            )
    head = "model | tokens | read | riding, full rates | own pass, full rates | riding, reached "
    head += "| own pass, reached | forward, s | riding, s | riding padded, s | own pass, s | memory"
    return table(head, rows)


def fleets(device: Device) -> str:
    """Seconds of riding, a pass of its own and the update for BATCH responses on several GPUs."""
    rows = []
    for model in MODELS.values():
        for length in LENGTHS:
            way = own_way(model, length, device)
            cells = []
            for count in GPUS:
                texts = BATCH / min(count, BATCH)
                ride = seconds_of_texts("riding", model, texts, length, device)
                own, step = (
                    seconds_of_texts(name, model, texts, length, device) for name in (way, "update")
                )
                riding_cell = f"{ride:.2g}" if way == "own pass" else "-"
                cells.append(f"{riding_cell} / {digits(own)} / {digits(step)}")
            rows.append([model.name, f"{length:,}", *cells])
    return table("model | tokens | " + " | ".join(f"{n} GPUs" for n in GPUS), rows)


FIELDS = {  # of gpu.json
    "plain forward": "plain",
    "riding": "ridden",
    "own pass": "own",
    "log-sum-exp": "logsumexp",
    "sum over heads": "head_sum",
    "solves": "solves",
}
LONG_FIELDS = {
    "plain forward": "plain",
    "own pass": "dense",
    "solves": "solves",
    "strips": "strips",
}


def beside_measured(measured: dict[str, Any], device: Device) -> str:
    """Counted at full and reached rates, measured, and measured over counted."""
    rows = []

    def row(case: str, part: str, value: float, text: Text, count: int, **options: Any) -> None:
        way = options.pop("way", part)
        full, fitted = (
            seconds_of_texts(way, text[0], count, text[1], rates, **options)
            for rates in (device, reached(device))
        )
        numbers = [f"{number:.3g} s" for number in (full, fitted, value)]
        rows.append([case, part, *numbers, f"{value / full:.2f}", f"{value / fitted:.2f}"])

    for model, length, case in _cases(measured):
        label, text = f"{model.name}, {RESPONSES} of {length:,}", (model, length)
        scale = RESPONSES / case["rows"]
        for part, field in FIELDS.items():
            row(label, part, scale * case["seconds"][field], text, RESPONSES)
        at_once = {"way": "solves", "tokens": RESPONSES * length}
        part = f"solves of all {RESPONSES}"
        row(label, part, case["solves_of_64"], text, RESPONSES, **at_once)
        value = scale * case["update_seconds"]
        row(label, "update", value, text, RESPONSES, tokens=UPDATE_TOKENS)
    for name, model in MODELS.items():
        if long := measured.get(f"{name} 32768 long"):
            for part, field in LONG_FIELDS.items():
                row(f"{name}, one of 32,768", part, long["seconds"][field], (model, 32_768), 1)
    head = "case | part | counted, full rates | counted, reached | measured "
    return table(head + "| measured / full | measured / reached", rows)


def rates_reached(measured: dict[str, Any]) -> str:
    """What our kernels reached, the products under the diagonal alone being counted."""
    rows = []
    for model, length, case in _cases(measured):
        products = case["rows"] * model.chosen * 2 * model.queries * length**2 / 2
        fields = ("head_sum", "logsumexp")
        cells = [f"{products / case['seconds'][field] / 1e12:.0f}" for field in fields]
        rows.append([model.name, f"{length:,}", *cells])
    return table("model | tokens | sum over heads, TFLOP/s | log-sum-exp, TFLOP/s", rows)


def beside_the_paper(measured: dict[str, Any], device: Device) -> str:
    """Table 6 of the paper beside ours, of RESPONSES texts."""
    rows = []
    cases = {(model.name, length): case for model, length, case in _cases(measured)}
    for (name, length), (step, credit) in PAPER.items():
        model = MODELS[name]
        case = cases.get((name, length))
        if case:
            scale = RESPONSES / case["rows"]
            values = [case["update_seconds"], case["seconds"]["ridden"], case["seconds"]["own"]]
            ours = [scale * value for value in values]
        else:
            ours = [
                seconds_of_texts("update", model, RESPONSES, length, device, tokens=UPDATE_TOKENS),
                *(
                    seconds_of_texts(way, model, RESPONSES, length, device)
                    for way in ("riding", "own pass")
                ),
            ]
        kind = "measured" if case else "counted"
        cells = [f"{ours[0]:.3g} s"]
        cells += [f"{value:.2g} s ({value / ours[0]:.1%})" for value in ours[1:]]
        cells += [f"{step} s", f"{credit} s ({credit / step:.1%})"]
        rows.append([name, f"{length:,}", kind, *cells])
    return table(
        "model | tokens | ours | update | riding | own pass | paper: step | paper: credit", rows
    )


def _cases(measured: dict[str, Any]) -> Iterator[tuple[Shape, int, dict[str, Any]]]:
    for name, case in measured.items():
        if isinstance(case, dict) and "rows" in case:
            model, length = name.split(" ")
            yield MODELS[model], int(length), case


def products(parts: Parts) -> float:
    return sum(work.products for work in parts.values())


def on_cpus(model: Shape) -> str:
    """Products alone, of which a CPU's time is made: credit over a forward with all logits."""
    rows = []
    for length in (512, 1024, 2048, 4096, 8192, 16_384, 32_768):
        logits = 2.0 * model.queries * length**2 / 2
        dense = products(truncated(model, 1, length)) + logits + 2.0 * length**2
        tiles = dense + 2 * model.chosen * logits
        plain = products(forward(model, 1, length, logits=True))
        rows.append([f"{length:,}", f"{dense / plain:.2f}", f"{tiles / plain:.2f}"])
    return table("tokens | dense / forward | tiles / forward", rows)


def tables(measured: dict[str, Any]) -> dict[str, str]:
    return {
        "Counted: Qwen3-4B, 64 responses of 8,192 tokens on an H100 at full rates": in_parts(
            MODELS["Qwen3-4B"], 8192, H100
        ),
        "Counted: H100": by_model(H100),
        "Counted: H100s at the rates reached, riding / own pass / update": fleets(reached(H100)),
        "Counted and measured: H200": beside_measured(measured, H200),
        "Measured: H200": rates_reached(measured),
        "Beside the paper": beside_the_paper(measured, reached(H200)),
        "Counted: SmolLM2-135M on a CPU, products alone": on_cpus(SMOLLM2),
    }


def main() -> None:
    for title, text in tables(json.loads(MEASURED.read_text())).items():
        print(f"{title}\n\n{text}\n")


if __name__ == "__main__":
    main()
