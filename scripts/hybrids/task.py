"""Values that letters were given, asked again and again: the answer depends on few tokens.

Prompt: `a=3 f=0 c=1 ...`, a token each. Response: `f 0 um a 3 ... c 1`: letters at random, each with its
value, fillers between some. The last value is the answer: the prompt has it, and so does the response where
its letter was asked before.
"""

import random
from dataclasses import dataclass

import torch
from settings import ASKED, FILLERS, LETTERS, VALUES

PAD, END = range(2)
VALUE = 2
LETTER = VALUE + VALUES
FILLER = LETTER + LETTERS
GIVEN = FILLER + FILLERS  # a letter and its value as one token, in prompts
VOCABULARY = GIVEN + LETTERS * VALUES


@dataclass(frozen=True)
class Example:
    """A prompt and its response, whose last token is the answer."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]


def example(generator: random.Random) -> Example:
    """One problem with the response that solves it."""
    values = {letter: generator.randrange(VALUES) for letter in range(LETTERS)}
    prompt = [
        GIVEN + VALUES * letter + values[letter]
        for letter in generator.sample(range(LETTERS), LETTERS)
    ]
    response: list[int] = []
    for _ in range(ASKED):
        response += [FILLER + generator.randrange(FILLERS)] * generator.randrange(2)
        letter = generator.randrange(LETTERS)
        response += [LETTER + letter, VALUE + values[letter]]
    return Example(tuple(prompt), tuple(response))


def batch(generator: random.Random, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels (size, T), padded on the right; the response's values are learnt."""
    rows = [example(generator) for _ in range(size)]
    longest = max(len(row.prompt) + len(row.response) for row in rows)
    ids = torch.full((size, longest), PAD)
    labels = torch.full((size, longest), -100)
    for number, row in enumerate(rows):
        start, response = len(row.prompt), torch.tensor(row.response)
        ids[number, :start] = torch.tensor(row.prompt)
        ids[number, start : start + len(response)] = response
        known = (response >= VALUE) & (response < LETTER)
        labels[number, start : start + len(response)] = response.masked_fill(~known, -100)
    return ids, labels
