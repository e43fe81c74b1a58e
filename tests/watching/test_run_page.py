"""The page of a run as a file, and as Html in trackio and wandb."""

import sys
import types

import pytest
from helpers.watched import watched_rollout

from flowtracer.watching.parts import write_part
from flowtracer.watching.run_page import report_html, save_run_page


class Tracker(types.ModuleType):
    """What trackio and wandb have in common."""

    def __init__(self, name, run=True):
        super().__init__(name)
        self.run = object() if run else None
        self.logged = []

    class Html:
        def __init__(self, data):
            self.text = data.read()

    def log(self, values):
        self.logged.append(values)


def test_a_folder_without_rollouts_has_no_page(tmp_path):
    assert save_run_page(tmp_path) is None and not list(tmp_path.iterdir())
    write_part(tmp_path, 3, [watched_rollout(["a"], step=3)])
    assert save_run_page(tmp_path) == tmp_path / "rollouts.html"


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_where_a_run_reports_to_the_page_is_html(monkeypatch, name):
    tracker = Tracker(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    for report_to in ([name, "tensorboard"], name):
        report_html([watched_rollout(["</script>", "b"], step=7)], 7, report_to)
    for values in tracker.logged:
        assert values["train/global_step"] == 7
        assert values["rollouts"].text.count("</script>") == 2
    assert len(tracker.logged) == 2
    report_html([watched_rollout(["a"])], 7, ["tensorboard"])
    report_html([watched_rollout(["a"])], 7, None)
    assert len(tracker.logged) == 2


def test_a_run_that_wandb_does_not_know_is_left_alone(monkeypatch):
    tracker = Tracker("wandb", run=False)
    monkeypatch.setitem(sys.modules, "wandb", tracker)
    report_html([watched_rollout(["a"])], 1, ["wandb"])
    assert tracker.logged == []


def test_a_tracker_that_fails_is_warned_of(monkeypatch):
    tracker = Tracker("trackio")
    tracker.Html = None
    monkeypatch.setitem(sys.modules, "trackio", tracker)
    with pytest.warns(UserWarning, match="trackio did not take the page"):
        report_html([watched_rollout(["a"])], 1, ["trackio"])


def test_a_page_that_cannot_be_written_is_warned_of(tmp_path):
    write_part(tmp_path, 3, [watched_rollout(["a"], step=3)])
    (tmp_path / "rollouts.html").mkdir()
    with pytest.warns(UserWarning, match="rollouts.html is not written"):
        assert save_run_page(tmp_path) is None
