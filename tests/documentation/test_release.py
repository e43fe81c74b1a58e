"""The version is the same wherever it is written, and the source distribution is complete."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PROJECT["project"]["version"]


def test_the_citation_names_this_version():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2606.10646"


def test_the_changes_of_this_version_come_first():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[0] == VERSION


def test_the_source_distribution_has_the_files_at_the_top():
    included = set(PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    kept = {
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CITATION.cff",
        "LICENSE",
    }
    assert kept | {"docs", "examples", "mkdocs.yml", "requirements-docs.txt"} <= included
    assert all((ROOT / name).exists() for name in included if "*" not in name)
