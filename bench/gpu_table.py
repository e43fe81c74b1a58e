"""The figures of bench/gpu.py as a page of Markdown."""

from typing import Any

RESPONSES = 64
PAPER = {
    ("Qwen3-4B", 1024): (71.0, 1.57),
    ("Qwen3-4B", 8192): (189.7, 8.55),
}  # table 6: step, credit


def markdown(result: dict[str, Any]) -> str:
    """Tables of whatever is known so far."""
    environment = result["environment"]
    lines = ["# Credit on a GPU, measured", "", "`make gpu` writes this page.", ""]
    lines += [", ".join(f"{name} {value}" for name, value in environment.items()) + ".", ""]
    if "errors" in result:
        lines += _errors(result)
    cases = [(name, value) for name, value in result.items() if isinstance(value, dict)]
    batches = [(*name.split(" "), value) for name, value in cases if "rows" in value]
    if batches:
        lines += _batches(batches)
    prompts = [(*name.split(" ")[:2], value) for name, value in cases if name.endswith(" prompt")]
    if prompts:
        lines += _prompts(prompts)
    longs = [(*name.split(" ")[:2], value) for name, value in cases if name.endswith(" long")]
    if longs:
        lines += _longs(longs)
    return "\n".join(lines) + "\n"


def _errors(result: dict[str, Any]) -> list[str]:
    lines = ["Largest distance from float64:", ""]
    lines += [
        "| case | dtype | padded | packed | cached prompt | strip |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["errors"]:
        values = " | ".join(f"{row[name]:.1e}" for name in ("padded", "packed", "cached", "strip"))
        lines.append(f"| {row['case']} | {row['dtype']} | {values} |")
    flow = result.get("flow_errors", {})
    parts = ", ".join(f"{name} {value:.1e}" for name, value in flow.items())
    lines += ["", f"Flow, largest relative error: {parts}."]
    for shape, errors in result.get("model_errors", {}).items():
        said = ", ".join(f"{name} {value:.1e}" for name, value in errors.items())
        lines.append(f"Mean attention of {shape}, distance from PyTorch's way: {said}.")
    return [*lines, ""]


def _batches(batches: list[Any]) -> list[str]:
    lines = [
        f"Seconds of {RESPONSES} responses; in brackets as a part of a plain forward. Riding is what a "
        "forward takes longer with credit read from it, flow included. Log-sum-exp and sum over heads "
        "are the kernels alone; the first is not needed where PyTorch's attention gives it.",
        "",
        "| model | tokens | plain forward | riding | log-sum-exp | sum over heads | solves | own pass "
        "| peak, own (plain) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, length, value in batches:
        scale = RESPONSES / value["rows"]
        seconds = {name: scale * number for name, number in value["seconds"].items()}

        def cell(name: str, seconds: dict[str, float] = seconds) -> str:
            if name not in seconds:
                return "-"
            return f"{seconds[name]:.3g} ({seconds[name] / seconds['plain']:.1%})"

        peak = value.get("peak_gb")
        memory = f"{peak['own']} GB ({peak['plain']})" if peak else "-"
        cells = [cell(name) for name in ("ridden", "logsumexp", "head_sum", "solves", "own")]
        lines.append(
            f"| {model} | {int(length):,} | {seconds['plain']:.3g} | {' | '.join(cells)} | {memory} |"
        )
    for length, seconds in _at_once(batches).items():
        lines += [
            "",
            f"Both solves of 64 texts of {length:,} tokens in one launch: {seconds:.3g} s.",
        ]
    lines += [
        "",
        "Beside the paper's table 6 (its step has sampling in it, its machine is not named):",
        "",
    ]
    lines += [
        f"| model | tokens | update of {RESPONSES} responses | riding | own pass | paper: step "
        "| paper: credit |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, length, value in batches:
        if "update_seconds" not in value:
            continue
        scale = RESPONSES / value["rows"]
        update = scale * value["update_seconds"]
        parts = [scale * value["seconds"][name] for name in ("ridden", "own")]
        paper = PAPER.get((model, int(length)))
        said = f"{paper[0]} s | {paper[1]} s ({paper[1] / paper[0]:.1%})" if paper else "- | -"
        ours = " | ".join(f"{part:.3g} s ({part / update:.1%})" for part in parts)
        lines.append(f"| {model} | {int(length):,} | {update:.3g} s | {ours} | {said} |")
    lines += ["", "`token_credit` of a padded batch that is on the host, of so many responses:", ""]
    lines += [
        "| model | tokens | responses | seconds | operations | bytes to the host | times the host waited |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, length, value in batches:
        if "score" in value:
            part = value["score"]
            lines.append(
                f"| {model} | {int(length):,} | {value['rows']} | {part['seconds']:.3g} | "
                f"{part['launches']:,} | {part['to_host_bytes']:,} | {part['host_waited']} |"
            )
    return [*lines, ""]


def _at_once(batches: list[Any]) -> dict[int, float]:
    """Seconds of 64 texts' solves by length; the same for every model."""
    return {
        int(length): value["solves_of_64"]
        for _, length, value in batches
        if value.get("solves_of_64")
    }


def _prompts(prompts: list[Any]) -> list[str]:
    lines = [
        "`token_scores` of the flow for 8 responses of 512 tokens to one prompt, which runs once for all of "
        "them or once for each:",
        "",
        "| model | prompt | once | for each | largest difference of throughput | peak, once (each) |",
        "|---|---|---|---|---|---|",
    ]
    for model, length, value in prompts:
        shared, apart = (value["seconds"][name] for name in ("shared", "apart"))
        peak = value.get("peak_gb")
        memory = f"{peak['shared']} GB ({peak['apart']})" if peak else "-"
        lines.append(
            f"| {model} | {int(length):,} | {shared:.3g} s ({shared / apart:.1%}) | {apart:.3g} s "
            f"| {value['difference']:.1e} | {memory} |"
        )
    return [*lines, ""]


def _longs(longs: list[Any]) -> list[str]:
    lines = ["One long text:", ""]
    lines += [
        "| model | tokens | plain forward | dense | solves of it | strips | peak, dense (strips) |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for model, length, value in longs:
        seconds = value["seconds"]
        cells = [
            f"{seconds[name]:.3g} ({seconds[name] / seconds['plain']:.1%})"
            for name in ("dense", "solves", "strips")
        ]
        peak = value.get("peak_gb")
        memory = f"{peak['dense']} GB ({peak['strips']})" if peak else "-"
        lines.append(
            f"| {model} | {int(length):,} | {seconds['plain']:.3g} | {' | '.join(cells)} | {memory} |"
        )
    return [*lines, ""]
