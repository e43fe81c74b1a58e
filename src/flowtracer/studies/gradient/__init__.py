"""Alignment: whether the gradient of a credit rule points where the reward's own gradient does."""
