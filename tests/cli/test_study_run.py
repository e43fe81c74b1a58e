"""The command that a study's report names."""

from flowtracer.cli.study_run import command_line


def test_the_command_of_a_report_can_be_typed_and_names_no_folder_of_the_machine(monkeypatch):
    words = [
        "study",
        "shape",
        "--out=/home/me/o",
        "--source",
        "/data/tasks",
        "--task",
        "my task.jsonl",
    ]
    monkeypatch.setattr("sys.argv", ["/usr/bin/flowtracer", *words])
    assert command_line() == (
        "flowtracer study shape --out=o --source tasks --task 'my task.jsonl'"
    )  # fmt: skip
