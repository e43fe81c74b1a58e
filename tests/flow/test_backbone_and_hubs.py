"""The backbone and the hubs against slow references."""

import itertools
import random

import pytest
import torch

from flowtracer.flow import find_hubs, select_backbone


def test_backbone_against_a_slow_reference():
    generator = random.Random(0)
    for _ in range(200):
        length = generator.randint(1, 30)
        values = [generator.choice([0.0, 0.1, 0.2, generator.random()]) for _ in range(length)]
        candidates = [generator.random() < 0.8 for _ in range(length)]
        ratio = generator.choice([0.1, 0.2, 0.4, 0.6, 1.0])
        order = sorted((i for i in range(length) if candidates[i]), key=lambda i: (-values[i], i))
        wanted = -(-round(ratio * 10) * len(order) // 10)  # ceil without rounding errors
        slow = {i for i in order[:wanted] if values[i] > 0}
        fast = select_backbone(torch.tensor([values]), torch.tensor([candidates]), ratio=ratio)
        assert {i for i, chosen in enumerate(fast[0].tolist()) if chosen} == slow
    with pytest.raises(ValueError, match="ratio is 0"):
        select_backbone(torch.ones(1, 3), torch.ones(1, 3).bool(), ratio=0)


def test_hubs_against_a_slow_reference():
    generator = random.Random(1)
    for _ in range(200):
        length = generator.randint(0, 40)
        values = [generator.choice([0.1, 0.5, generator.random()]) for _ in range(length)]
        response = [i >= length // 3 for i in range(length)]
        radius = generator.randint(0, 3)
        places = [i for i in range(length) if response[i]]
        ranked = sorted(values[i] for i in places)
        slow = [
            i
            for i in places
            if values[i] > ranked[(len(places) - 1) // 2]
            and all(values[j] < values[i] for j in places if i - radius <= j < i)
            and all(values[j] <= values[i] for j in places if i < j <= i + radius)
        ]
        hubs = find_hubs(
            torch.tensor(values), torch.tensor(response, dtype=torch.bool), radius=radius
        )
        assert list(hubs.tokens) == slow
        assert list(hubs.spacing) == [b - a for a, b in itertools.pairwise(slow)]
    assert find_hubs(torch.zeros(0), torch.zeros(0).bool()).tokens == ()
