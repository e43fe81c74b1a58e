"""Random attention graphs, and flow on them by enumerating every path."""

import itertools
from fractions import Fraction

import torch

MODES = ("absorb", "relay")


def random_attention(length: int, seed: int, *, batch: int = 1, sharpness: float = 1.0):
    """Causal attention with rows that sum to 1, (batch, length, length) float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(
        batch, length, length, generator=generator, dtype=torch.float64
    )
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    return logits.masked_fill(hidden, -torch.inf).softmax(-1)


def masks(length: int, question, answer):
    q = torch.zeros(1, length, dtype=torch.bool)
    a = torch.zeros(1, length, dtype=torch.bool)
    q[0, list(question)] = True
    a[0, list(answer)] = True
    return q, a


def paths_by_enumeration(attention, question, answer, mode):
    """Every increasing path from any token to an answer token, with its product of influences."""
    length = attention.shape[0]
    ends = {i for i in range(length) if answer[i]}
    for size in range(1, length + 1):
        for path in itertools.combinations(range(length), size):
            if path[-1] not in ends:
                continue
            if mode == "absorb" and any(token in ends for token in path[:-1]):
                continue
            product = 1.0
            for source, target in itertools.pairwise(path):
                product *= float(attention[target, source])
            if product > 0:
                yield path, product


def flow_by_enumeration(attention, question, answer, mode):
    """h, f and edge flow as sums over paths."""
    length = attention.shape[0]
    paths = list(paths_by_enumeration(attention, question, answer, mode))
    potential = [sum(p for path, p in paths if path[0] == i) for i in range(length)]
    fed = [i for i in range(length) if question[i] and potential[i] > 0]
    inflow = [0.0] * length
    edges = torch.zeros(length, length, dtype=torch.float64)
    for path, product in paths:
        if path[0] in fed:
            probability = product / potential[path[0]] / len(fed)
            for token in path:
                inflow[token] += probability
            for source, target in itertools.pairwise(path):
                edges[source, target] += probability
    exact = torch.float64
    return torch.tensor(potential, dtype=exact), torch.tensor(inflow, dtype=exact), edges


def exact_flow(attention, question, answer, mode, least=0.0):
    """Potential and inflow of one graph in exact fractions; None where no question token has a path.

    A potential below `least` counts as none. Token by token from equations 2 and 4, without matrices:
    h backwards, f forwards along W'.
    """
    length = attention.shape[0]
    weight = [[Fraction(float(value)) for value in row] for row in attention]
    sink = [Fraction(float(value)) for value in answer]
    relays = [mode == "relay" or sink[i] == 0 for i in range(length)]
    potential = list(sink)
    for i in reversed(range(length)):
        if relays[i]:
            potential[i] += sum(weight[k][i] * potential[k] for k in range(i + 1, length))
    potential = [value if value >= least else Fraction(0) for value in potential]
    fed = [i for i in range(length) if question[i] and potential[i] > 0]
    if not fed:
        return None
    inflow = [Fraction(i in fed, len(fed)) for i in range(length)]
    for i in range(length):
        if relays[i] and inflow[i]:
            for k in range(i + 1, length):
                inflow[k] += inflow[i] * weight[k][i] * potential[k] / potential[i]
    return potential, inflow
