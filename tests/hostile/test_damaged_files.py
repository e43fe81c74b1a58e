"""A thousand damaged files: read as far as they make sense, or refused in one sentence that names them."""

import io
import json
import shutil
from collections import Counter

import pytest
from helpers.damage import damaged
from helpers.traces import made_trace
from rich.console import Console

from flowtracer import load, load_trace
from flowtracer.records import read_records
from flowtracer.render import page_html
from flowtracer.render.figures import save_figures
from flowtracer.render.terminal import show
from flowtracer.storage import check_settings
from flowtracer.tasks import load_task

CONFIGURATIONS = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json",
                  "model.safetensors.index.json")  # fmt: skip
SETTINGS = {"task": {"name": "countdown", "limit": 3}, "seed": 0, "layers": [1, 2]}
ROLLOUTS = [{"id": "a", "prompt": "1 + 1?", "response": "2", "answer": "2"},
            {"id": "b", "messages": [{"role": "user", "content": "2 + 2?"}], "response": "4"},
            {"id": "c", "question": "3 + 3?", "answer": "6", "extra": {"level": 1}}]  # fmt: skip


def refusal(read, path):
    """ "read", or "refused" if that is said in one sentence with the file's or its folder's name."""
    try:
        read(path)
    except ValueError as error:
        text = str(error)
        assert type(error) is not UnicodeEncodeError, repr(error)
        assert "\n" not in text.strip() and len(text) < 600, text
        assert path.name in text or path.parent.name in text, text
        return "refused"
    return "read"


@pytest.fixture
def count(tmp_path, bar):
    """Damage a file many times, read it, and note the outcomes."""

    def trial(name, content, read, number, path):
        counts = Counter()
        for seed in range(number):
            path.write_bytes(damaged(content, seed))
            try:
                counts[refusal(read, path)] += 1
            except Exception as error:
                raise AssertionError(f"{name}, seed {seed}: {path.read_bytes()[:300]!r}") from error
        for outcome, times in counts.items():
            bar(f"damaged files: {name}", times, outcome)
        return counts

    return trial


def trial_of_traces(count, tmp_path, number):
    made = made_trace(["user: ", "Make", " 33"], ["so ", "é", "🙂", "\n", "42", "."], answer=-2)

    def read(path):
        trace = load_trace(path)
        page_html(trace).encode()
        trace.save(tmp_path / "again.json")
        assert load_trace(tmp_path / "again.json") == trace
        screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        show(trace, Console(file=screen, force_terminal=True))
        screen.flush()
        save_figures(trace, tmp_path, formats=("svg",))

    return count(
        "traces", json.dumps(made.to_json()).encode(), read, number, tmp_path / "trace.json"
    )


def trial_of_models(count, tmp_path, embedded, number):
    total = Counter()
    for name in CONFIGURATIONS:
        folder = tmp_path / f"model-{name}"
        embedded.model.save_pretrained(folder)
        embedded.tokenizer.save_pretrained(folder)
        index = {"metadata": {}, "weight_map": {"lm_head.weight": "model.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        content = (folder / name).read_bytes()
        read = lambda path: load(path.parent, device="cpu")  # noqa: E731
        total += count(f"models, {name}", content, read, number, folder / name)
        shutil.rmtree(folder)
    return total


def trial_of_rows(count, tmp_path, number):
    content = "\n".join(map(json.dumps, ROLLOUTS)).encode()
    tasks = "\n".join(json.dumps({"question": "1 + 1?", "answer": "2"} | row) for row in ROLLOUTS)
    rows = count("rollouts", content, lambda path: list(read_records(path)), number,
                 tmp_path / "rollouts.jsonl")  # fmt: skip
    return rows + count("tasks", tasks.encode(), lambda path: load_task(path, split="test"), number,
                        tmp_path / "task.jsonl")  # fmt: skip


def trial_of_settings(count, tmp_path, number):
    def read(path):
        check_settings(path, SETTINGS, what="a run")

    return count(
        "settings of a run", json.dumps(SETTINGS).encode(), read, number, tmp_path / "run.json"
    )


def test_damaged_files_are_read_or_refused(count, tmp_path, embedded):
    trial_of_traces(count, tmp_path, 30)
    trial_of_models(count, tmp_path, embedded, 3)
    trial_of_rows(count, tmp_path, 30)
    trial_of_settings(count, tmp_path, 30)


@pytest.mark.slow
def test_a_thousand_damaged_files_are_read_or_refused(count, tmp_path, embedded):
    total = trial_of_traces(count, tmp_path, 500)
    total += trial_of_models(count, tmp_path, embedded, 30)
    total += trial_of_rows(count, tmp_path, 125)
    total += trial_of_settings(count, tmp_path, 100)
    assert sum(total.values()) == 1000
