"""Sums of values that letters were given: the answer depends on a few tokens, among fillers.

Prompt: `a 3 , f 0 , ... ? f a`. Response: `f 0 um a 3 er er = 3`, the sum of the values modulo 4.
"""

import random
from dataclasses import dataclass

import torch
from settings import ASKED, FILLERS, GIVEN, LETTERS, VALUES

PAD, END, COMMA, ASK, EQUALS = range(5)
VALUE = 5
LETTER = VALUE + VALUES
FILLER = LETTER + LETTERS
VOCABULARY = FILLER + FILLERS


@dataclass(frozen=True)
class Example:
    """A prompt and its response, whose last token is the answer."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]


def example(generator: random.Random) -> Example:
    """One problem with the response that solves it."""
    letters = generator.sample(range(LETTERS), GIVEN)
    values = {letter: generator.randrange(VALUES) for letter in letters}
    prompt = [
        token for letter in letters for token in (LETTER + letter, VALUE + values[letter], COMMA)
    ]
    asked = generator.sample(letters, ASKED)
    prompt += [ASK, *(LETTER + letter for letter in asked)]
    response: list[int] = []
    for letter in asked:
        response += [LETTER + letter, VALUE + values[letter]]
        response += [FILLER + generator.randrange(FILLERS)] * generator.randrange(3)
    answer = sum(values[letter] for letter in asked) % VALUES
    return Example(tuple(prompt), (*response, EQUALS, VALUE + answer))


def batch(generator: random.Random, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels (size, T), padded on the right; the response and its end are learnt."""
    rows = [example(generator) for _ in range(size)]
    longest = max(len(row.prompt) + len(row.response) + 1 for row in rows)
    ids = torch.full((size, longest), PAD)
    labels = torch.full((size, longest), -100)
    for number, row in enumerate(rows):
        start, response = len(row.prompt), torch.tensor([*row.response, END])
        ids[number, :start] = torch.tensor(row.prompt)
        ids[number, start : start + len(response)] = response
        labels[number, start : start + len(response)] = response
    return ids, labels
