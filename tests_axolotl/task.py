"""A reward that any text has, named by the tests' configuration."""


def letters(prompts, completions, **_):
    """The number of different characters, which differs within most groups."""
    return [float(len(set(completion[0]["content"]))) for completion in completions]
