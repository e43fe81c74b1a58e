"""What a task is: examples, how they are asked, and how responses are graded."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets


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
    example to a number, 1.0 or 0.0 for the graders of this package. answer_rule: where the answer
    stands in a response, a name out of `flowtracer.regions.ANSWER_RULES`.
    """

    name: str
    examples: tuple[Example, ...]
    instruction: str
    grade: Callable[[str, Example], float]
    answer_rule: str = "boxed"

    def prompt(self, example: Example) -> list[dict[str, str]]:
        """The conversation that asks the example: one user message."""
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
    ) -> list[float]:
        """The grade of every completion: a reward function for TRL, also called `reward`.

        completions: texts, or lists of messages, of which the last is graded. answer, id and
        extra_json: the columns of `dataset`, one value per completion; other columns are ignored.

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
        return [
            float(
                self.grade(_text(completion), Example(name, questions.get(name, ""), right, more))
            )
            for completion, name, right, more in zip(
                completions, names, answer, map(json.loads, extras), strict=True
            )
        ]

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
