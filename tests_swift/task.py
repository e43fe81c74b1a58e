"""A plug-in of swift for the tests: a reward that any text has, and the embedded model's template."""

from swift.rewards import ORM, orms
from swift.template import TemplateMeta, register_template


class Letters(ORM):
    """The number of different characters, which differs within most groups."""

    def __call__(self, completions, **_):
        return [float(len(set(completion))) for completion in completions]


orms["letters"] = Letters
register_template(
    TemplateMeta(
        "embedded",
        prefix=[],
        prompt=["<|user|>{{QUERY}}<|end|><|assistant|>"],
        chat_sep=["<|end|>"],
        suffix=["<|end|>"],
    ),
    exist_ok=True,
)
