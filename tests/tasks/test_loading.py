"""Tasks: where examples come from, how they are asked, and the reward that trainers call."""

import json
import math
import pickle
import subprocess
import sys

import pytest

from flowtracer.tasks import TASKS, Example, Task, load_task
from flowtracer.tasks.countdown import Problem, attempts, is_solution, reachable


def folder_with(tmp_path, name, rows, split="test"):
    (tmp_path / name).mkdir(exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (tmp_path / name / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


ROWS = [{"id": f"r{k}", "question": f"{k} + 1?", "answer": str(k + 1)} for k in range(20)]


def test_importing_tasks_loads_nothing_heavy():
    program = (
        "import sys, flowtracer.tasks\n"
        "assert not {'datasets', 'math_verify', 'sympy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_folder_is_read_in_order(tmp_path, monkeypatch):
    folder = folder_with(tmp_path, "gsm8k", ROWS)
    task = load_task("gsm8k", source=folder)
    assert [example.id for example in task.examples] == [row["id"] for row in ROWS]
    assert task.name == "gsm8k"
    monkeypatch.setenv("FLOWTRACER_DATA", str(folder))
    assert load_task("gsm8k").examples == task.examples


def test_a_limit_takes_the_first_examples(tmp_path):
    folder = folder_with(tmp_path, "gsm8k", ROWS)
    whole = load_task("gsm8k", source=folder).examples
    assert load_task("gsm8k", source=folder, limit=5, seed=1).examples == whole[:5]
    assert len(load_task("gsm8k", source=folder, limit=99).examples) == 20


def test_the_prompt_is_the_question_and_the_instruction(tmp_path):
    task = load_task("gsm8k", source=folder_with(tmp_path, "gsm8k", ROWS))
    (message,) = task.prompt(task.examples[0])
    assert message["role"] == "user"
    assert message["content"].startswith("0 + 1?\n\nReason step by step")
    assert "\\boxed{}" in message["content"]
    embedded = load_task("countdown", limit=1)
    assert embedded.prompt(embedded.examples[0])[0]["content"] == embedded.examples[0].question
    assert embedded.examples[0].question.startswith("Make ")
    bare, instructed = (load_task(name, limit=1) for name in ("countdown4-bare", "countdown4"))
    assert bare.examples == instructed.examples
    assert bare.prompt(bare.examples[0])[0]["content"] == bare.examples[0].question
    assert "\\boxed{}" in instructed.prompt(instructed.examples[0])[0]["content"]


def test_options_are_lettered_and_kept_for_the_grader(tmp_path):
    row = {"question": "Which?", "answer": "B", "choices": ["red", "blue"]}
    task = load_task("crossthink_qa", source=folder_with(tmp_path, "crossthink_qa", [row]))
    assert task.examples[0].question == "Which?\n\nA. red\nB. blue"
    assert task.answer_rule == "choice"
    assert task.grade("\\boxed{blue}", task.examples[0]) == 1.0


@pytest.mark.parametrize(
    ("name", "row", "answer"),
    [
        ("gsm8k", {"question": "?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"}, "4"),
        ("math500", {"problem": "?", "solution": "\\boxed{1}, so \\boxed{\\frac{1}{2}}"}, "\\frac{1}{2}"),
        ("math500", {"problem": "?", "solution": "\\boxed{1}", "answer": "2"}, "2"),
        ("olympiadbench", {"question": "?", "final_answer": ["$1$", "2"], "is_multiple_answer": True},
         "$1$,2"),
        ("olympiadbench", {"question": "?", "final_answer": ["$k=1$"]}, "k=1"),
        ("amc23", {"question": "?", "answer": 27.0}, "27"),
        ("aime24", {"Problem": "?", "Answer": 204}, "204"),
        ("crossthink_qa",
         {"prompt": [{"role": "user", "content": "?"}], "reward_model": {"ground_truth": "C"}}, "C"),
    ],
)  # fmt: skip
def test_fields_of_public_copies_are_found(tmp_path, name, row, answer):
    (example,) = load_task(name, source=folder_with(tmp_path, name, [row])).examples
    assert (example.question, example.answer) == ("?", answer)
    assert example.extra.get("multiple", False) == row.get("is_multiple_answer", False)


def test_what_is_wrong_with_a_source_is_said_in_one_sentence(tmp_path, monkeypatch):
    folder = folder_with(tmp_path, "gsm8k", [ROWS[0], "", "{broken"])
    with pytest.raises(ValueError, match=r"test\.jsonl, line 3: is not JSON"):
        load_task("gsm8k", source=folder)
    with pytest.raises(ValueError, match=r"no split 'dev' in .*; there is test"):
        load_task("gsm8k", source=folder, split="dev")
    with pytest.raises(ValueError, match="has no task aime24"):
        load_task("aime24", source=folder)
    with pytest.raises(ValueError, match="there is no such folder"):
        load_task("aime24", source=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"task 'gsm9k' is unknown; use countdown, .* or a path"):
        load_task("gsm9k")
    with pytest.raises(ValueError, match="line 1: has no answer"):
        load_task("gsm8k", source=folder_with(tmp_path, "gsm8k", [{"question": "?"}]))
    with pytest.raises(ValueError, match="line 1: has no question"):
        load_task("gsm8k", source=folder_with(tmp_path, "gsm8k", [{"answer": "1"}]))
    with pytest.raises(ValueError, match="has no rows"):
        load_task("gsm8k", source=folder_with(tmp_path, "gsm8k", []))
    with pytest.raises(ValueError, match="limit 0"):
        load_task("countdown", limit=0)
    with pytest.raises(ValueError, match="has no split 'dev'; use train or test"):
        load_task("countdown4", split="dev")
    with pytest.raises(ValueError, match=r"mine\.jsonl: cannot be read"):
        load_task(tmp_path / "mine.jsonl")


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets (flowtracer[train]) is missing")

    def load_dataset(path, config, *, split):
        raise ConnectionError(f"Couldn't reach {path}\nlong story")

    monkeypatch.delenv("FLOWTRACER_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        ValueError, match=r"'test' of openai/gsm8k cannot be loaded .*FLOWTRACER_DATA"
    ):
        load_task("gsm8k")


def test_rows_of_the_hub_are_read_with_its_names_for_splits(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets (flowtracer[train]) is missing")
    asked = []

    def load_dataset(path, config, *, split):
        asked.append((path, config, split))
        return datasets.Dataset.from_list([{"problem": "?", "answer": 7}])

    monkeypatch.delenv("FLOWTRACER_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_task("aime24").examples == (Example("0", "?", "7", {}),)
    assert load_task("gsm8k", split="train").examples[0].answer == "7"
    assert asked == [("HuggingFaceH4/aime_2024", None, "train"), ("openai/gsm8k", "main", "train")]


def test_the_users_own_file_is_graded_as_mathematics_or_by_the_users_function(
    tmp_path, monkeypatch
):
    path = (
        folder_with(tmp_path, "mine", [{"problem": "Half?", "answer": "\\frac12"}])
        / "mine"
        / "test.jsonl"
    )
    task = load_task(path)
    assert task.name == "test"
    assert task.grade("\\boxed{0.5}", task.examples[0]) == 1.0
    (tmp_path / "my_rewards.py").write_text(
        "def length(response, example):\n    return len(response)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    task = load_task(str(path), reward="my_rewards:length")
    assert task.reward(["abc"], answer=["x"]) == [3.0]
    assert load_task(path, reward=lambda response, example: 0.5).reward(["a"], answer=["x"]) == [
        0.5
    ]
    for wrong, why in (
        ("my_rewards", "package.module:function"),
        ("my_rewards:width", "cannot be imported"),
        ("no_such_module:f", "cannot be imported"),
        ("my_rewards:__name__", "not a function"),
    ):
        with pytest.raises(ValueError, match=why):
            load_task(path, reward=wrong)


def test_the_data_set_and_the_reward_fit_a_trainer(tmp_path):
    pytest.importorskip("datasets", reason="datasets (flowtracer[train]) is missing")
    task = load_task("countdown", limit=6)
    data = task.dataset()
    assert data.column_names == ["prompt", "id", "answer", "extra_json"]
    columns = {name: data[name][:] for name in ("id", "answer", "extra_json")}
    solved = [
        [{"role": "assistant", "content": f"\\boxed{{{text}}}"}] for text in columns["answer"]
    ]
    rewards = task.reward(prompts=data["prompt"], completions=solved, trainer_state=None, **columns)
    assert rewards == [1.0] * 6
    mixed = [
        solved[0],
        "\\boxed{" + columns["answer"][1] + "}",
        [],
        [{"role": "tool", "content": None}],
        "",
        "1",
    ]
    assert task.reward(mixed, **columns) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert task.reward.__name__ == "accuracy"
    assert pickle.loads(pickle.dumps(task)).reward(solved, **columns) == rewards
    with pytest.raises(ValueError, match="column answer has 1 values for 6"):
        task.reward(solved, answer=["1"])


def test_a_grade_that_nobody_knows_is_not_counted_as_wrong():
    example = Example("a", "Why?", "1")
    task = Task("mine", (example,), "", lambda response, example: math.nan)
    with pytest.warns(UserWarning, match="1 of 1 answers could not be graded"):
        assert task.reward(["x"], answer=["1"]) == [None]


def test_a_grader_sees_the_question():
    seen = []
    task = Task(
        "mine",
        (Example("a", "Why?", "1"),),
        "",
        lambda response, example: seen.append(example) or 1.0,
    )
    assert task.reward(["x"], answer=["1"], id=["a"]) == [1.0]
    assert seen == [Example("a", "Why?", "1", {})]


def test_without_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delenv("FLOWTRACER_DATA", raising=False)
    for use in (load_task("countdown", limit=1).dataset, lambda: load_task("gsm8k")):
        with pytest.raises(ImportError, match=r"flowtracer\[train\]"):
            use()


@pytest.mark.parametrize("name", ["countdown", "countdown4"])
def test_countdown_splits_never_meet_and_their_answers_are_right(name):
    sides = {split: load_task(name, split=split, limit=200) for split in ("train", "test")}
    keys = {}
    for split, task in sides.items():
        assert len(task.examples) == 200
        problems = [
            Problem(tuple(example.extra["numbers"]), example.extra["target"])
            for example in task.examples
        ]
        assert all(problem.held_out == (split == "test") for problem in problems)
        assert all(
            is_solution(example.answer, p)
            for example, p in zip(task.examples, problems, strict=True)
        )
        assert all(
            task.grade(f"\\boxed{{{example.answer}}}", example) == 1.0 for example in task.examples
        )
        keys[split] = {(tuple(sorted(problem.numbers)), problem.target) for problem in problems}
        assert len(keys[split]) == 200
    assert not keys["train"] & keys["test"]
    assert load_task(name, limit=200) == sides["test"]
    assert load_task(name, limit=200, seed=1).examples != sides["test"].examples


def test_reachable_is_what_attempts_find():
    for numbers in ((3, 7, 18), (2, 2, 4), (1, 5, 8, 25)):
        expressions = reachable(numbers)
        assert set(expressions) == {attempt.value for attempt in attempts(numbers)}
        assert all(
            is_solution(text, Problem(numbers, value)) for value, text in expressions.items()
        )


def test_every_task_says_how_it_is_asked_and_graded():
    for entry in TASKS.values():
        assert callable(entry.grade)
        assert entry.instruction == "" or "\\boxed{}" in entry.instruction
