"""The examples run on the embedded model, with short settings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = {
    "train_trl.py": (["--steps", "2"], "step 2: reward"),
    "score_file.py": (["--problems", "3"], "rollout 0: advantage"),
    "own_scorer.py": (["--problems", "3"], "before_answer"),
    "weigh_by_scorer.py": ([], "scored: 10 of 25 tokens get +1.05"),
}
NOTEBOOKS = {"trace_and_test.ipynb": "top 20% by flow", "judge_a_rule.ipynb": "flow@end=bottom"}
SHORTER = {
    "PROBLEMS, RESPONSES = 24, 4": "PROBLEMS, RESPONSES = 8, 4",
    '"--problems", "6"': '"--problems", "2"',
}


def cells_of(name):
    return json.loads((EXAMPLES / name).read_text(encoding="utf-8"))["cells"]


def run(command, folder):
    """What a Python command prints; it has to end well."""
    command = [sys.executable, *map(str, command)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-3000:]
    return ended.stdout


def test_every_example_is_listed_and_run():
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert names == set(SCRIPTS) | set(NOTEBOOKS)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"[{name}]({name})" in listed for name in names)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_hold_no_outputs(name):
    for cell in cells_of(name):
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_run(name, tmp_path):
    for package in ("trl", "pyarrow"):
        pytest.importorskip(package, reason="needs flowtracer[train,score]")
    options, said = SCRIPTS[name]
    assert said in run([EXAMPLES / name, *options], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name, tmp_path):
    pytest.importorskip("trl", reason="needs flowtracer[train]")
    code = "\n\n".join(
        "".join(cell["source"]) for cell in cells_of(name) if cell["cell_type"] == "code"
    )
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    script = tmp_path / "notebook.py"
    script.write_text(code, encoding="utf-8")
    assert NOTEBOOKS[name] in run([script], tmp_path)
