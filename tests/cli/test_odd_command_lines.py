"""Five hundred command lines that are wrong somewhere: one sentence each, never a traceback."""

import json
import time
from collections import Counter

import pytest
import typer
from helpers.commands import call
from helpers.rollouts import record
from helpers.settings import CONFIG

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
pytest.importorskip("pyarrow", reason="needs the extra flowtracer[score]")

from flowtracer.cli.main import app

STUDY = "--task task.jsonl --problems 2 --max-new-tokens 4"
SHORT_BY_OPTIONS = ("eval", "study causal", "study shape", "study formats")
# A short run of each command, to which one wrong thing is added.
SHORT = {
    "trace": "--problem absent --no-figures",
    "show": "trace.json --no-figures",
    "score": "rows.jsonl",
    "eval": "--problems 2 --max-new-tokens 4",
    "study causal": STUDY,
    "study shape": STUDY,
    "study formats": STUDY,
    "study training": "absent.yaml",
    "study report": "empty",
    "train": "good.yaml --output_dir out --max_steps 1",
}
WRONG = {
    "int": ["x", "1.5", "", "-7", "99999999999999999999"],
    "float": ["x", "", "-7", "nan", "1,5"],
    "path": ["file.txt/inside", "absent/absent", "bytes.bin", "folder", ""],
    "text": ["", "nonsense", "../x", "é\u2028", "regex:("],
}
UNTRIED = {"--help", "--install-completion", "--show-completion", "--trust-remote-code"}
DAMAGED = {
    "empty": b"",
    "blank": b"\n\n",
    "cut": b'{"prompt": "Make',
    "list": b"[1, 2]\n",
    "number": b"7\n",
    "binary": b"\x00\xff\xfe\x89PNG",
    "latin": '{"prompt": "é"}\n'.encode("latin-1"),
    "half": b'{"prompt": "\\ud83d", "response": "x", "question": "\\ud83d", "answer": "1"}\n',
    "deep": b"[" * 50_000,
    "fields": b'{"a": 1}\n',
    "types": b'{"prompt": 7, "response": [], "question": {}, "answer": true}\n',
    "null": b'{"prompt": null, "response": null, "question": null, "answer": null}\n',
    "yaml": b"a: [1\n",
    "keys": b"sorcery: 1\n",
    "nested": b"task: {a: {b: 1}}\nlearning_rate: [1]\n",
    "trace": b'{"schema": "flowtracer.trace", "version": 1, "text": 5}',
    "version": b'{"schema": "flowtracer.trace", "version": "x"}',
}
TRAINING = """
--max_steps --learning_rate --num_generations --per_device_train_batch_size --max_completion_length
--save_steps --seed --beta --epsilon --temperature --emphasis --ratio --problems --loss_type
--lr_scheduler_type --weighting --by --end --among --layers --answer
--answer_tokens --question --method --task --source --split --reward --dtype
"""
CONTRADICTIONS = """
trace --problem x --prompt-file file.txt
trace --problem x --jsonl rows.jsonl
trace --prompt-file file.txt --jsonl rows.jsonl
trace --response-file file.txt
trace --response-file file.txt --problem x
trace --model elsewhere/model
trace --row 3 --jsonl rows.jsonl --row
trace --jsonl rows.jsonl --row 999
trace --layers 5-1 --jsonl rows.jsonl
trace --layers 1,,2 --jsonl rows.jsonl
trace --layers 0-999999999 --jsonl rows.jsonl
trace --figures --no-figures --layers 77
trace extra --jsonl rows.jsonl
trace --out file.txt --jsonl rows.jsonl
trace --device meta --jsonl rows.jsonl
trace --device cuda:77 --jsonl rows.jsonl
show
show trace.json other.json
show folder
show bytes.bin
score
score rows.jsonl rows.jsonl
score absent.jsonl
score empty
score file.txt
score rows.jsonl --out file.txt
score rows.jsonl --engine magic
score rows.jsonl --config rows.jsonl
score rows.jsonl --config absent.yaml
score rows.jsonl --scorer best
score rows.jsonl --model folder
score rows.jsonl --device meta
score bytes.bin
eval --responses 4
eval --responses 4 --temperature 0
eval --backend magic
eval --task absent.jsonl
eval --task rows.jsonl --split
eval --task gsm8k --source empty
eval --task countdown --split dev
eval --model folder
eval --model absent.gguf
eval --device meta --problems 1
eval --reward nonsense
eval --reward os:absent
eval --reward os:sep
eval --reward absent_module:f
study
study magic
study causal --scorer best
study causal --scorer flow@
study causal --scorer flow@end=middle
study causal --ratio 0
study causal --ratio 2
study causal --cut 0
study causal --scorer flashtrace
study causal --side tool
study causal --protocol magic
study causal --excluded -1
study causal --cut 7
study causal --config keys.yaml
study shape --scorer random@x=1
study shape --problems 0
study formats --task absent.jsonl
study formats --model folder
study report absent
study training good.yaml --method magic
study training good.yaml --vary emphasis
study training good.yaml --vary =1
study training good.yaml --vary nonsense=1,2
study training good.yaml --jobs 0
train
train absent.yaml
train folder
train good.yaml --bogus 1
train good.yaml good.yaml
train good.yaml --method magic
train good.yaml --task nonsense
train good.yaml --split dev
train good.yaml --model_name_or_path folder
train good.yaml --emphasis
sorcery
--sorcery
""".strip().splitlines()


def commands():
    """(name, command) of every command of the program."""
    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from (
                (f"{name} {inner}", subcommand) for inner, subcommand in command.commands.items()
            )
        else:
            yield name, command


def kind_of(option):
    """What an option takes; typer says it differently from version to version."""
    descriptor = getattr(option, "type_descriptor", None)
    name = str(descriptor.annotation if descriptor else option.type).lower()
    return next((kind for kind in ("int", "float", "path") if kind in name), "text")


def command_lines():
    """Lists of words."""
    for line in CONTRADICTIONS:
        words = line.split(" ")
        name = " ".join(words[: 1 + (words[0] == "study")])
        small = SHORT[name].split() if len(words) > 1 and name in SHORT_BY_OPTIONS else []
        yield [*name.split(), *small, *words[len(name.split()) :]]
    tried = set()  # studies share most of their options
    for name, command in commands():
        short = SHORT.get(name, STUDY).split()
        if name != "train":
            for option in command.params:
                spelling = next((opt for opt in option.opts if opt.startswith("--")), None)
                if spelling is None or spelling in UNTRIED or (name[:5], spelling) in tried:
                    continue
                tried.add((name[:5], spelling))
                if getattr(option, "is_flag", False):
                    yield [*name.split(), *short, f"{spelling}=maybe"]
                    continue
                for value in WRONG[kind_of(option)]:
                    yield [*name.split(), *short, spelling, value]
                yield [*name.split(), *short, spelling]
        for option in TRAINING.split() if name == "train" else ():
            yield [name, *short, option, "-7x"]
            yield [name, *short, option, ""]
    for damage in DAMAGED:
        for words in (
            "trace --no-figures --jsonl {}.jsonl",
            "trace --no-figures --prompt-file {}.jsonl --response-file {}.jsonl",
            "score {}.jsonl",
            "score rows.jsonl --config {}.jsonl",
            "eval --max-new-tokens 4 --task {}.jsonl",
            "study shape --max-new-tokens 4 --problems 1 --task {}.jsonl",
            "study causal --config {}.jsonl",
            "show {}.jsonl --no-figures",
            "train {}.jsonl",
        ):
            yield words.replace("{}", damage).split()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file.txt").write_text("Make 33 from 3, 7, 18.")
    (tmp_path / "bytes.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "rows.jsonl").write_text(json.dumps(record(0)) + "\n")
    task = json.dumps({"question": "Make 33 from 3, 7, 18.", "answer": "33"})
    (tmp_path / "task.jsonl").write_text(f"{task}\n{task}\n")
    (tmp_path / "good.yaml").write_text(CONFIG)
    (tmp_path / "keys.yaml").write_text("sorcery: 1\n")
    for name in ("folder", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    for name, content in DAMAGED.items():
        (tmp_path / f"{name}.jsonl").write_bytes(content)
    return tmp_path


@pytest.mark.slow
def test_five_hundred_odd_command_lines_get_one_sentence_each(folder, bar):
    lines = list(command_lines())
    counts, faults = Counter(), []
    for number, words in enumerate(lines):
        # A run that goes through must not have the folder of another one.
        own = (
            [] if "--out" in words or words[0] not in ("score", "eval") else ["--out", f"o{number}"]
        )
        began = time.monotonic()
        try:
            ended = call(*words, *own, cwd=folder)
        except BaseException as error:
            faults.append(f"{words}: {type(error).__name__}: {error}")
            continue
        finally:
            print(number, words, f"{time.monotonic() - began:.1f} s", flush=True)
        sentences = [line for line in ended.stderr.splitlines() if line.startswith("flowtracer: ")]
        counts[" ".join(words[: 1 + (words[0] == "study")]), ended.returncode] += 1
        fine = ended.returncode in (0, 3) or (
            ended.returncode in (1, 2)
            and (len(sentences) == 1 or "Usage:" in ended.stdout)
            and "FLOWTRACER_DEBUG" not in ended.stderr  # an error that nobody foresaw
        )
        if not fine or "Traceback" in ended.stderr or len("".join(sentences)) > 1000:
            faults.append(f"{words}: status {ended.returncode}, {ended.stderr.strip()[-300:]}")
    for (name, status), count in counts.items():
        bar(f"odd command lines: {name}", count, f"status {status}")
    assert len(lines) >= 500
    assert not faults, f"{len(faults)} of {len(lines)}:\n" + "\n".join(faults)
