"""How far long work is: a bar at a terminal, lines in a log."""

import pytest

from flowtracer.cli import progress
from flowtracer.cli.progress import progress_bar


def test_a_log_gets_a_line_a_minute(capsys, monkeypatch):
    seconds = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds)
    with progress_bar() as report:
        for step in range(10):
            seconds = 25.0 * step
            report("sampling", step, 10, note=" (1 refused)" if step == 6 else "")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["sampling: 3 of 10", "sampling: 6 of 10 (1 refused)", "sampling: 9 of 10"]


@pytest.mark.parametrize("steps", [0, 3])
def test_short_work_leaves_a_log_empty(capsys, steps):
    with progress_bar() as report:
        for step in range(steps):
            report("sampling", step, steps)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar() as report:
        report("sampling", 1, 2)
    assert "sampling" in capsys.readouterr().err
