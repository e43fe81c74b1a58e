"""What is committed of the studies: tables follow from their rows, configs can be run."""

import json
from pathlib import Path

import pytest
import typer
import yaml

pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")

from flowtracer.cli.study import app
from flowtracer.studies.causal.report import write_report
from flowtracer.studies.causal.settings import CausalStudy
from flowtracer.studies.scorer_choices import parse_scorers
from flowtracer.studies.solutions import SolutionSettings

ROOT = Path(__file__).parents[2]
TABLES = ("table1-answer", "table1-answer-excluded", "table1-rest", "countdown-cuts")
CONFIGS = sorted((ROOT / "configs" / "studies").glob("*.yaml"))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_follows_from_its_rows(tmp_path, name):
    folder = ROOT / "results" / "evidence" / name
    figures = json.loads((folder / "figures.json").read_text())
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in figures["study"].items()}
    study = CausalStudy(**settings | {"solutions": SolutionSettings(**settings["solutions"])})
    origin = figures["origin"]
    (tmp_path / "environments.json").write_text(json.dumps(origin["environments"]))
    table = write_report(study, rows, tmp_path, command=origin["command"])
    assert table.read_text() == (folder / "table.md").read_text()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_has_options_of_a_study(path):
    settings = yaml.safe_load(path.read_text())
    commands = typer.main.get_command(app).commands.values()
    assert any(
        settings.keys() <= {option.name for option in command.params} for command in commands
    )
    if "scorer" in settings:
        parse_scorers(settings["scorer"], side="prompt" if "side" in settings else "response")
