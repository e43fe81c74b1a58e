"""The study of gradients against a policy small enough to enumerate, and against planted rules."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from helpers.tiny_world import LIMIT, completions, log_probability, tiny_loaded, tiny_task

from flowtracer.gradients.backward import chosen_parameters
from flowtracer.statistics.intervals import Interval
from flowtracer.studies.gradient.report import without_signal, write_checkpoints, write_report
from flowtracer.studies.gradient.rollouts import Group, batches_in, draw_groups, read_groups
from flowtracer.studies.gradient.study import GradientStudy, gradient_file, run_gradient
from flowtracer.studies.gradient.summary import alignments, effective_batch, read_gradients
from flowtracer.studies.sampling import Drawing
from flowtracer.studies.verdicts import judge
from flowtracer.tasks import Example

RULES = ("uniform", "random", "position@emphasis=3")


def silent(stage, done, total):
    pass


def study_of(**settings):
    settings = {
        "rules": RULES,
        "batches": 4,
        "problems": 4,
        "responses": 6,
        "max_new_tokens": LIMIT,
        "parameters": "all",
    } | settings
    return GradientStudy("tiny", "tiny", **settings)


def exact_gradient(loaded, task, problems):
    """Gradient of the mean reward over problems, by enumeration of every response."""
    parameters = list(loaded.model.parameters())
    total = 0.0
    for example in (task.examples[problem] for problem in problems):
        prompt = loaded.tokenizer(task.prompt(example)[-1]["content"])["input_ids"]
        for response in completions():
            logs = log_probability(loaded.model, prompt, response).sum()
            text = loaded.tokenizer.decode([token for token in response if token])
            total = total + logs.exp() * task.grade(text, example)
    parts = torch.autograd.grad(total / len(problems), parameters)
    return torch.cat([part.reshape(-1) for part in parts])


def test_the_rewards_gradient_is_that_of_enumeration(tmp_path):
    """Without bias, and within Monte-Carlo error: the mean over many batches of the same problems."""
    loaded, task = tiny_loaded(), tiny_task(4)
    study = study_of(batches=30, problems=4, responses=30)
    rows = run_gradient(study, loaded, task, tmp_path, progress=silent)
    drawn = read_gradients(tmp_path, range(30), 0).double()
    exact = exact_gradient(loaded, task, range(4)).double()
    error = drawn.mean(0) - exact
    expected = (drawn.var(0) / 30).sum().sqrt()
    assert float(error.norm()) < 1.5 * float(expected) < 0.5 * float(exact.norm())
    assert {row["responses"] for row in rows} == {120}


def test_a_rules_gradient_is_equation_5_written_as_loops(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    study = study_of(rules=("uniform", "position@ratio=0.5,emphasis=3"))
    (row, *_) = run_gradient(study, loaded, task, tmp_path, progress=silent)
    parameters = list(loaded.model.parameters())
    for number, emphasised in ((1, False), (2, True)):
        loss, responses = 0.0, 0
        for group in row["groups"]:
            rewards = torch.tensor(group["rewards"])
            advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
            for ids, advantage in zip(group["responses"], advantages, strict=True):
                responses += 1
                weights = torch.ones(len(ids))
                scorable = [token for token in ids if token]  # a text with an answer
                if emphasised and scorable:
                    chosen = int(np.ceil(0.5 * len(ids)))
                    weights[len(ids) - chosen :] = 3.0  # the latest
                logs = log_probability(loaded.model, group["prompt_ids"], ids)
                loss = loss + float(advantage) * (weights * logs).sum() / len(ids)
        parts = torch.autograd.grad(loss / responses, parameters)
        expected = torch.cat([part.reshape(-1) for part in parts])
        stored = torch.from_numpy(np.load(gradient_file(tmp_path, 0))[number])
        torch.testing.assert_close(stored, expected, rtol=1e-3, atol=1e-6)


def test_shuffled_scores_are_chance_and_a_planted_rule_wins(tmp_path):
    """Gradients with a known signal: a rule that adds noise loses, one that removes it wins."""
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(400, generator=generator)
    rows = []
    folder = tmp_path / "gradients"
    folder.mkdir()
    names = ["uniform", "better", "worse", "same"]
    for batch in range(30):
        noise = 3 * torch.randn(400, generator=generator)
        fresh = [torch.randn(400, generator=generator) for _ in range(3)]
        reward = signal + noise
        table = [reward, reward, signal + 0.5 * noise, signal + noise + 2 * fresh[0]]
        table.append(signal + noise + 0.05 * fresh[1])
        np.save(gradient_file(tmp_path, batch), torch.stack(table).numpy())
        spread = {name: {"gini": 0.0, "effective_tokens": 1.0} for name in names}
        rows.append({"batch": batch, "informative": 1, "rules": spread})
    by_name = {alignment.name: alignment for alignment in alignments(rows, names, tmp_path)}
    verdicts = judge({name: by_name[name].differences for name in names[1:]})
    assert [verdict.word for verdict in verdicts] == ["better", "worse", "undecided"]
    assert by_name["uniform"].effective_batch.value == pytest.approx(1)
    assert by_name["better"].effective_batch.low > 2
    assert by_name["worse"].effective_batch.high < 1


def test_effective_batch_is_none_where_there_is_only_noise():
    noise = np.random.default_rng(0).normal(0, 1, (12, 5000))
    products = noise @ noise.T
    assert effective_batch(products, products) is None


def test_random_rules_cannot_be_told_from_uniform(tmp_path):
    """Random scores follow from the tokens, so no prompt may come twice, or they would be a rule."""
    words = product("abc", repeat=5)
    examples = [Example(f"p{i}", " ".join(text), "abc"[i % 3]) for i, text in enumerate(words)]
    loaded, task = tiny_loaded(), replace(tiny_task(), examples=tuple(examples))
    # Normalised: of one to three tokens, top 40% is a larger part of the shorter responses. A small
    # emphasis: what noise costs a gradient grows with its square.
    rules = ("uniform", *(f"random@seed={n},normalise=yes,emphasis=1.1" for n in range(3)))
    study = study_of(rules=rules, batches=24, responses=12)
    rows = run_gradient(study, loaded, task, tmp_path, progress=silent)
    rule_alignments = alignments(rows, rules, tmp_path)
    verdicts = judge({alignment.name: alignment.differences for alignment in rule_alignments[1:]})
    assert all(verdict.word == "undecided" for verdict in verdicts)


def test_a_kill_changes_nothing(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    study = study_of()
    complete = run_gradient(study, loaded, task, tmp_path / "a", progress=silent)

    def killed(stage, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_gradient(study, loaded, task, tmp_path / "b", progress=killed)
    gradient_file(tmp_path / "b", 0).write_bytes(b"cut short")
    assert run_gradient(study, loaded, task, tmp_path / "b", progress=silent) == complete
    for batch in range(4):
        expected, other = (np.load(gradient_file(tmp_path / name, batch)) for name in "ab")
        assert np.array_equal(expected, other)


def test_rollouts_of_a_file_give_what_drawn_ones_give(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    study = study_of(batches=2, problems=4)
    drawn = run_gradient(study, loaded, task, tmp_path / "drawn", progress=silent)
    path = tmp_path / "rollouts.jsonl"
    lines = [
        json.dumps({"prompt_ids": list(group["prompt_ids"]), "response_ids": ids, "reward": reward})
        for row in drawn
        for group in row["groups"]
        for ids, reward in zip(group["responses"], group["rewards"], strict=True)
    ]
    path.write_text("\n".join(lines))
    groups = read_groups(loaded, path, most_tokens=100)
    merged = {tuple(group["prompt_ids"]) for row in drawn for group in row["groups"]}
    assert len(groups) == len(merged)
    read = run_gradient(
        study_of(batches=2, problems=len(groups) // 2, rollouts="a file"),
        loaded,
        task,
        tmp_path / "read",
        groups=groups,
        progress=silent,
    )
    assert sum(row["responses"] for row in read) == len(lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt_ids": [1], "response_ids": [2]}', "row 0: has no number as reward"),
        ('{"prompt_ids": [1], "response_ids": [2], "reward": 1}', "no prompt has two responses"),
        ('{"prompt_ids": [1], "response_ids": [99], "reward": 1}', "not in a vocabulary"),
        ("[1]", "row 0: is not a JSON object"),
    ],
)
def test_rollouts_that_cannot_be_used_are_refused(tmp_path, line, message):
    path = tmp_path / "rollouts.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        read_groups(tiny_loaded(), path, most_tokens=100)


def test_too_few_rollouts_are_refused():
    group = Group("p", (1,), ((2,), (3,)), (0.0, 1.0))
    assert batches_in([group] * 9, 4, 16) == 2 and batches_in([group] * 9, 1, 5) == 5
    with pytest.raises(ValueError, match="9 prompts with several responses"):
        batches_in([group] * 9, 5, 16)


def test_token_ids_do_not_say_what_the_user_wrote(tmp_path):
    study = study_of(rules=("uniform", "random@question=user"), rollouts="a file")
    with pytest.raises(ValueError, match="token ids do not say what the user wrote"):
        run_gradient(study, tiny_loaded(), tiny_task(), tmp_path, groups=[], progress=silent)


def test_batches_are_the_same_for_the_same_seed():
    loaded, task = tiny_loaded(), tiny_task()

    def draw(seed, batch=0):
        return draw_groups(
            loaded, task, batch, problems=5, responses=3, drawing=Drawing(LIMIT), seed=seed
        )

    assert draw(1) == draw(1) != draw(2)
    assert {group.problem for batch in range(2) for group in draw(1, batch)} <= set(range(12))
    assert [group.problem for group in draw(1)] != [group.problem for group in draw(1, 1)]


def test_the_report_says_what_was_compared(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    study = study_of(batches=6)
    rows = run_gradient(study, loaded, task, tmp_path, progress=silent)
    table = write_report(study, rows, tmp_path, command="flowtracer study gradient").read_text()
    assert "| uniform |" in table and "| `position@emphasis=3` |" in table
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert "uniform weights" in figures["recommendation"]
    assert "own cosine is not clearly above 0" in figures["recommendation"]  # of so few batches
    mixed = sum(row["informative"] for row in rows)
    assert (
        f"({mixed} of 24 prompts have responses of different rewards)" in figures["recommendation"]
    )
    assert (tmp_path / "figure.png").stat().st_size > 1000
    reports = {"start": figures, "step-10": figures}
    combined = write_checkpoints(reports, tmp_path, command="c")
    assert "| rule | start | step-10 |" in combined.read_text()


def test_only_a_direction_that_batches_do_not_share_is_remarked_on():
    assert without_signal(Interval(0.3, 0.1, 0.5), mixed=3, prompts=4) == ""
    assert "(-0.010 [-0.040, +0.020])" in without_signal(
        Interval(-0.01, -0.04, 0.02), mixed=3, prompts=4
    )


def test_batches_without_any_difference_of_rewards_are_counted_and_left_out(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    flat = type(task)("flat", task.examples, "", lambda text, example: 1.0, task.answer_rule)
    rows = run_gradient(study_of(), loaded, flat, tmp_path, progress=silent)
    assert all(row["informative"] == 0 for row in rows)
    with pytest.raises(ValueError, match="only 0 batches have responses of different rewards"):
        alignments(rows, RULES, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batches": 1}, "use 2 or more"),
        ({"responses": 1}, "responses at least 2"),
        ({"rules": ("random",)}, "begin with 'uniform'"),
        ({"rules": ("uniform", "nothing")}, "unknown"),
        ({"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        study_of(**settings)


def test_all_parameters_of_the_tiny_model_are_chosen():
    model = tiny_loaded().model
    assert len(chosen_parameters(model, "auto")) == len(list(model.parameters()))
