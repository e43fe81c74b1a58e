"""Write the examples of `flowtracer serve`: sessions of the embedded model, and traces of real ones.

    python scripts/gallery.py --real models/smollm2 --real models/qwen-coder-0.5b

Without `--real` the sessions of real models stay as they are. Greedy, in float32, seeds as below.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowtracer.models import load
from flowtracer.tasks.countdown import held_out_problems
from flowtracer.workbench import knockout, traces, writing
from flowtracer.workbench.engine import Engine
from flowtracer.workbench.jobs import Job
from flowtracer.workbench.limits import Limits
from flowtracer.workbench.session import save_session

FOLDER = Path(__file__).parent.parent / "src/flowtracer/workbench/gallery"
SAMPLE = "Make 4 from 16, 20, 24."
RATIO = 0.1  # of the response that is hidden
CONTROLS = 5
LEFT_OUT = ("random", "position", "delimiters")  # scorers that need no model
REAL = {  # by the name of a model's folder: the model, and a word problem
    "smollm2": (
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "A box holds 12 pencils. Mia buys 4 boxes and gives 9 pencils to her brother. How many pencils does "
        "she have left? Think step by step and end with 'The answer is' and the number.",
    ),
    "qwen-coder-0.5b": (
        "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "A farmer has 6 rows of 8 apple trees. A storm fells 13 of them. How many trees are left? Write one "
        "line of calculation and the number in \\boxed{}, nothing else.",
    ),
}


def job() -> Job:
    """Work that is not cancelled for want of listeners."""
    work = Job(lambda job: {})
    work.attach(lambda: None)
    return work


def entry(engine: Engine, record: dict[str, Any], name: str, **fields: Any) -> dict[str, Any]:
    """A text of a session, traced with the default options."""
    trace = traces.trace(engine, {"text": record["id"]}, job())["trace"]
    ids = {key: record[key] for key in ("model", "prompt_ids", "response_ids", "roles")}
    known = {key: record[key] for key in ("correct", "cut_off")}
    return {"id": record["id"], "name": name, "ids": ids, "trace": trace, **known, **fields}


def trial(engine: Engine, record: dict[str, Any], controls: int) -> dict[str, Any]:
    """The top tokens by flow hidden, and as many random ones with several seeds."""
    tokens = knockout.select(engine, {"text": record["id"], "ratio": RATIO}, job())["tokens"]
    asked = {"text": record["id"], "tokens": tokens, "from": "hidden"}
    return {
        "tokens": tokens,
        "how": f"top {RATIO:.0%} by flow",
        "from": "hidden",
        "result": knockout.hide(engine, asked, job()),
        "controls": [
            {
                "seed": seed,
                "result": knockout.hide(engine, asked | {"control": {"seed": seed}}, job()),
            }
            for seed in range(controls)
        ],
    }


def short(value: Any) -> Any:
    """Four significant digits of every number that is not an integer, which is what the page shows."""
    if isinstance(value, dict):
        return {key: short(part) for key, part in value.items()}
    if isinstance(value, list):
        return [short(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def write(engine: Engine, file: str, title: str, note: str, texts: list[dict[str, Any]]) -> None:
    """A session of the package."""
    session = save_session(engine, {"title": title, "note": note, "texts": texts})
    for text in session["texts"]:
        scores = text["traced"]["scores"]
        text["traced"]["scores"] = {name: scores[name] for name in scores if name not in LEFT_OUT}
    session = short(json.loads(json.dumps(session)))
    path = FOLDER / f"{file}.json"
    path.write_text(
        json.dumps(session, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {note}")


def write_embedded() -> None:
    """The four sessions of the embedded model."""
    engine = Engine(load("embedded", dtype="float32"), Limits())
    solved = writing.answer(engine, {"prompt": SAMPLE}, job())
    note = "The embedded model finds the answer at the third attempt. Which tokens does it draw on?"
    write(engine, "1-solved", "A solved problem", note, [entry(engine, solved, SAMPLE)])

    problems = [problem.prompt for problem in held_out_problems(40, seed=1)]
    records = {prompt: writing.answer(engine, {"prompt": prompt}, job()) for prompt in problems}
    wrong = next(
        p for p, record in records.items() if not record["correct"] and not record["cut_off"]
    )
    note = "The embedded model gives a wrong answer. Does its flow look different?"
    write(engine, "2-wrong", "A wrong answer", note, [entry(engine, records[wrong], wrong)])

    solutions = [(p, r) for p, r in records.items() if r["correct"]]
    tried = ((p, r, trial(engine, r, 0)) for p, r in solutions)
    prompt, record, changed = next(
        candidate for candidate in tried if candidate[2]["result"]["answer_changed"]
    )
    note = f"Without the {changed['how']} the model writes another answer."
    hidden = {"hidden": changed["tokens"], "trials": [changed]}
    write(engine, "3-hidden", "Hidden tokens", note, [entry(engine, record, prompt, **hidden)])

    both = ((p, r, trial(engine, r, CONTROLS)) for p, r in solutions if p != prompt)
    prompt, record, tested = next(candidate for candidate in both if _clear(candidate[2]))
    count = sum(bool(control["result"]["answer_changed"]) for control in tested["controls"])
    note = (
        f"Without the {tested['how']} the answer changes; with as many random tokens hidden, in {count} of "
        f"{CONTROLS} draws. One problem, chosen to show it; flowtracer study causal measures many."
    )
    hidden = {"hidden": tested["tokens"], "trials": [tested]}
    write(
        engine,
        "4-control",
        "Hidden tokens and a control",
        note,
        [entry(engine, record, prompt, **hidden)],
    )


def _clear(tested: dict[str, Any]) -> bool:
    changed = [control["result"]["answer_changed"] for control in tested["controls"]]
    return bool(tested["result"]["answer_changed"]) and sum(map(bool, changed)) <= 1


def write_real(folder: Path, number: int) -> None:
    """A trace of a real model."""
    name, prompt = REAL[folder.name]
    engine = Engine(replace(load(folder, dtype="float32", device="cpu"), name=name), Limits())
    record = writing.answer(engine, {"prompt": prompt, "max_new_tokens": 250}, job())
    print(record["response"])
    model = name.rpartition("/")[2]
    note = f"{model} on a word problem; the trace comes with the package, the model does not."
    write(
        engine,
        f"{number}-{folder.name}",
        f"A trace of {model}",
        note,
        [entry(engine, record, prompt[:60])],
    )


def main() -> None:
    """All sessions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, action="append", default=[], help="folder of a model")
    folders = parser.parse_args().real
    FOLDER.mkdir(exist_ok=True)
    write_embedded()
    for number, folder in enumerate(folders, start=5):
        write_real(folder.expanduser(), number)


if __name__ == "__main__":
    main()
