"""Options from a YAML file, by one command that has them."""

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from flowtracer.cli import options

pytest.importorskip("yaml", reason="needs the extra flowtracer[train]")

app = typer.Typer()


@app.command()
def show(
    config: options.Config = None,
    task: Annotated[str, typer.Option()] = "countdown",
    ratio: Annotated[list[float] | None, typer.Option()] = None,
    max_new_tokens: Annotated[int, typer.Option()] = 512,
):
    print(task, list(ratio or [0.2]), max_new_tokens)


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_the_file_gives_defaults_and_the_command_line_wins(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("task: gsm8k\nratio: [0.1, 0.3]\nmax_new_tokens: 7\n")
    assert run("--config", str(path)).stdout == "gsm8k [0.1, 0.3] 7\n"
    assert run("--config", str(path), "--ratio", "0.5", "--task", "t").stdout == "t [0.5] 7\n"
    path.write_text("ratio: 0.4\n")  # one value where several may stand
    assert run("--config", str(path)).stdout == "countdown [0.4] 512\n"
    assert run().stdout == "countdown [0.2] 512\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sorcery: 1\n", "setting 'sorcery' is unknown"),
        ("trust_remote_code: true\n", "pass --trust-remote-code on the command line"),
        ("- 1\n", "is not a mapping of settings"),
        ("task: [1\n", "cannot be read as YAML"),
        ("[" * 5000, "cannot be read as YAML: maximum recursion"),
    ],
)
def test_a_wrong_file_gets_one_sentence(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    result = run("--config", str(path))
    assert result.exit_code == 1 and message in str(result.exception)
    assert "is not a file" in str(run("--config", str(tmp_path / "nothing.yaml")).exception)
