"""Run every command with two versions of the code and compare what they print and write.

    python tests/helpers/compare_commands.py OLD [--new NEW] [--only NAME,NAME] [--keep FOLDER]

OLD and NEW are checkouts of this repository; the default of NEW is the one that holds this script. All
commands run on the embedded model. Numbers and texts have to be equal in JSON, JSON Lines and Parquet;
on pages and in tables words may differ, numbers may not. Exit status 1 if anything else differs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GOOD = "3 + 7 = 10, 10 + 18 = 28, not 33.\n18 - 3 = 15, 15 + 7 = 22, not 33.\n\\boxed{3 * (18 - 7)}"
ROWS = [
    {"id": str(n), "prompt": "Make 33 from 3, 7, 18.", "response": GOOD[n:], "advantage": n - 2.5}
    for n in range(6)
]
TRAINING = """
model_name_or_path: embedded
task: countdown
method: flow
max_steps: 2
learning_rate: 1.0e-3
num_generations: 4
per_device_train_batch_size: 16
max_completion_length: 64
use_cpu: true
bf16: false
save_steps: 2
logging_steps: 1
disable_tqdm: true
"""
FILES = {
    "rows.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "prompt.txt": "Make 33 from 3, 7, 18.",
    "response.txt": GOOD,
    "training.yaml": TRAINING,
}
SMALL = "--problems 3 --max-new-tokens 96"
COMMANDS = {
    "trace": "trace --out trace",
    "trace-problem": "trace --problem 'Make 24 from 4, 6, 1.' --out trace --layers all "
    "--answer boxed --answer-tokens relay --no-figures",
    "trace-files": "trace --prompt-file prompt.txt --response-file response.txt --question user "
    "--out trace --no-figures",
    "trace-row": "trace --jsonl rows.jsonl --row 3 --layers 1,4 --no-chat --out trace --no-figures",
    "trace-tiles": "trace --jsonl rows.jsonl --tile-above 4 --out trace --no-figures",
    "trace-sampled": "trace --problem 'Make 24 from 4, 6, 1.' --temperature 0.8 --seed 3 --out trace "
    "--no-figures --answer auto",
    "show": "trace --out trace --no-figures && show trace/trace.json --out shown",
    "score": "score rows.jsonl --out scores --shard-rows 4",
    "score-random": "score rows.jsonl --out scores --scorer random --weighting tanh --seed 5",
    "score-relay": "score rows.jsonl --out scores --answer-tokens relay --layers all --emphasis 2",
    "eval": "eval --problems 12 --max-new-tokens 96 --out eval --batch 5",
    "eval-sampled": "eval --problems 4 --responses 2 --temperature 1 --max-new-tokens 64 --out eval",
    "causal": f"study causal {SMALL} --out study",
    "causal-rest": f"study causal {SMALL} --out study --protocol rest --cut 0.4 --ratio 0.3",
    "shape": f"study shape {SMALL} --out study",
    "formats": f"study formats {SMALL} --out study",
    "train": "train training.yaml --output-dir run",
    "study-training": "study training training.yaml --out study --method grpo --method flow --seed 0 "
    "--test-problems 8",
}
# What was renamed, old to new: keys of JSON, columns, and texts that stand for a choice.
RENAMED = {
    "measure": "scorer",
    "measures": "scorers",
    "share": "ratio",
    "spared": "excluded",
    "hidden": "knocked_out",
    "held": "top_flow",
    "unevenness (deviation / mean)": "coefficient of variation",
    "credit/share_of_step": "credit/ratio_of_step",
    "credit_layers": "layers",
    "select_share": "ratio",
}
# What differs between two runs of the same code, or says which code and settings it was.
IGNORED = re.compile(
    r"^study$|^environments$|seconds|time|runtime|per_second|(share|ratio)_of_step|^made$|versions|^command$|num_tokens|"
    r"learning_rate_scheduler"
)
# Files that say how a run was made or are the library's own; the results beside them are compared.
SKIPPED = re.compile(
    r"(^|/)(checkpoint-|\.)|(study|eval|run|score|solutions|made|environments|tokenizer|tokenizer_config|config|"
    r"generation_config)\.json$|\.(log|bin|lock|jinja|yaml|txt)$|README\.md$"
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("--new", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--only", default="", help="names of commands, separated by commas")
    parser.add_argument("--keep", type=Path, help="folder for what the commands write")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(COMMANDS)
    total = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            old, new = (
                _run(code.resolve(), (options.keep or Path(scratch)) / side / name, COMMANDS[name])
                for side, code in (("old", options.old), ("new", options.new))
            )
            differences = list(_compare(old, new))
            total += len(differences)
            print(
                f"{name}: {f'{len(differences)} differences' if differences else 'the same'}",
                flush=True,
            )
            for line in differences[:20]:
                print(f"  {line}")
    raise SystemExit(1 if total else 0)


def _run(code: Path, folder: Path, commands: str) -> Path:
    """Run commands in a new folder and put down what they printed; returns the folder."""
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    program = f"{sys.executable} -m flowtracer "
    ended = subprocess.run(
        " && ".join(program + command for command in commands.split(" && ")),
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(code / "src"), "COLUMNS": "100", "HF_HUB_OFFLINE": "1"},
    )
    (folder / "printed.md").write_text(ended.stdout.replace(str(folder), "."))
    (folder / "status.json").write_text(json.dumps(ended.returncode))
    if ended.returncode:
        print(ended.stderr[-500:], file=sys.stderr)
    return folder


def _compare(old: Path, new: Path) -> Iterator[str]:
    """One line for each difference between two folders of results."""
    names = [
        {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in FILES
        }
        for folder in (old, new)
    ]
    for name in sorted(names[0] ^ names[1]):
        if not SKIPPED.search(name):
            yield f"{name}: only {'old' if name in names[0] else 'new'} has it"
    for name in sorted(names[0] & names[1]):
        if not SKIPPED.search(name):
            for line in _compare_files(old / name, new / name):
                yield f"{name}: {line}"


def _compare_files(old: Path, new: Path) -> Iterator[str]:
    if old.suffix in (".json", ".jsonl", ".parquet"):
        yield from _differences(_values(old), _values(new))
    elif old.suffix == ".md":
        numbers = [
            [
                NUMBER.findall(line)
                for line in path.read_text().splitlines()
                if "made 20" not in line and "runtime" not in line and "_time" not in line
            ]
            for path in (old, new)
        ]
        if [n for line in numbers[0] for n in line] != [n for line in numbers[1] for n in line]:
            yield "numbers differ"
    elif old.suffix == ".safetensors" and old.read_bytes() != new.read_bytes():
        yield "weights differ"


def _values(path: Path) -> Any:
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        return parquet.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return json.loads(path.read_text(encoding="utf-8"))


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """One line for each value that differs, with the way to it."""
    if isinstance(old, dict) and isinstance(new, dict):
        old = {
            name if name in new else RENAMED.get(name, name): value for name, value in old.items()
        }
        for name in sorted(old.keys() | new.keys()):
            if IGNORED.search(name):
                continue
            if name not in old or name not in new:
                yield f"{where}.{name} is only in {'old' if name in old else 'new'}"
            else:
                yield from _differences(old[name], new[name], f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, f"{where}[{number}]")
    elif old != new and (not isinstance(old, str) or RENAMED.get(old, old) != new):
        yield f"{where} was {str(old)[:80]!r}, is {str(new)[:80]!r}"


if __name__ == "__main__":
    main()
