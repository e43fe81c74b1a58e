"""What a task is: examples, their prompts, and how responses are graded."""

import json
import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowtracer.math_answers.symbolic import clock, time_limit
from flowtracer.regions.answers import opened_thought

if TYPE_CHECKING:
    import datasets

BATCH = 512  # completions
BATCH_LIMIT = 10.0  # seconds for a batch, in proportion for larger ones; our choice


@dataclass(frozen=True)
class Example:
    """One question with its reference answer.

    extra: what else the grader needs, JSON values only: options, unit, numbers and so on.
    """

    id: str
    question: str
    answer: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Examples with an instruction and a grader.

    instruction: put behind the question, blank lines included. grade: from a response and its
    example to a number, 1.0 or 0.0 for the graders of this package, NaN for not graded.
    answer_rule: where the answer is in a response, a name out of
    `flowtracer.regions.ANSWER_RULES`. opening: see `behind`.
    """

    name: str
    examples: tuple[Example, ...]
    instruction: str
    grade: Callable[[str, Example], float]
    answer_rule: str = "boxed"
    opening: str = ""

    def behind(self, prompt: str, *, dropped: Collection[str] = ()) -> "Task":
        """The task for responses to prompts that end as this one, which may open a thought.

        `opening` is then that thought's tag. Graders get it in front of the response, so that one which
        never closes the thought has no answer. dropped: tokens that responses are decoded without; if
        the closing tag is among them, nobody can tell, and responses are graded as they are.
        """
        opening = opened_thought(prompt)
        closing = f"{opening[:1]}/{opening[1:]}"
        return replace(self, opening="" if closing in dropped else opening)

    def grade_response(self, response: str, example: Example) -> float:
        """What `grade` says of a response behind the `opening`."""
        return float(self.grade(self.opening + response, example))

    def prompt(self, example: Example) -> list[dict[str, str]]:
        """The conversation that poses the example: one user message."""
        return [{"role": "user", "content": example.question + self.instruction}]

    def dataset(self) -> "datasets.Dataset":
        """The examples as a data set that TRL's trainers take.

        Columns: prompt (conversational), id, answer, extra_json. Raises ImportError without
        `datasets`.
        """
        library = import_datasets()
        dataset: datasets.Dataset = library.Dataset.from_dict(
            {
                "prompt": [self.prompt(example) for example in self.examples],
                "id": [example.id for example in self.examples],
                "answer": [example.answer for example in self.examples],
                "extra_json": [json.dumps(dict(example.extra)) for example in self.examples],
            }
        )
        return dataset

    def accuracy(
        self,
        completions: Sequence[Any],
        *,
        answer: Sequence[str],
        id: Sequence[str] | None = None,
        extra_json: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """The grade of every completion: a reward function for TRL, also called `reward`.

        completions: texts, or lists of messages, of which the last is graded. answer, id and
        extra_json: the columns of `dataset`, one value per completion; other columns are ignored.
        None where the grader could not tell (TRL leaves such completions out); that is warned of.

        Raises ValueError if a column is not as long as the completions.
        """
        names = [""] * len(completions) if id is None else id
        extras = ["{}"] * len(completions) if extra_json is None else extra_json
        for column, values in (("answer", answer), ("id", names), ("extra_json", extras)):
            if len(values) != len(completions):
                raise ValueError(
                    f"column {column} has {len(values)} values for {len(completions)} completions; "
                    "give one per completion"
                )
        questions = {example.id: example.question for example in self.examples}
        examples = [
            Example(name, questions.get(name, ""), right, json.loads(extra))
            for name, right, extra in zip(names, answer, extras, strict=True)
        ]
        grades = self._grades(list(map(_text, completions)), examples)
        ungraded = sum(map(math.isnan, grades))
        if ungraded:
            warnings.warn(
                f"{ungraded} of {len(grades)} answers could not be graded in time and get no reward",
                stacklevel=2,
            )
        return [None if math.isnan(grade) else grade for grade in grades]

    def _grades(self, texts: list[str], examples: list[Example]) -> list[float]:
        """All grades, within the time for a batch; NaN where that was not enough.

        Every answer gets an even part of the time that is left, so that hostile ones leave enough
        for the others; what the first round did not finish is tried again in what remains.
        """
        grades = [math.nan] * len(texts)
        deadline = clock() + BATCH_LIMIT * max(1.0, len(texts) / BATCH)
        for _ in range(2):
            open_rows = [row for row, grade in enumerate(grades) if math.isnan(grade)]
            for done, row in enumerate(open_rows):
                with time_limit((deadline - clock()) / (len(open_rows) - done)):
                    grades[row] = self.grade_response(texts[row], examples[row])
        return grades

    reward = accuracy  # TRL logs a reward under its __name__, so that one is "accuracy"


def import_datasets() -> Any:
    """The library `datasets`, or an ImportError that says how to get it."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "data sets need the library datasets; install it with pip install 'flowtracer[train]'"
        ) from error
    return datasets


def _text(completion: Any) -> str:
    """The text of a completion; nothing for a message without text, such as a call of a tool."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    return content if isinstance(content, str) else ""
