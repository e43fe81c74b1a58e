"""Attention knockout: hide tokens from everything that comes after them, and see what the model says."""

from flowtracer.intervention.decode import decode
from flowtracer.intervention.knockout import Knockout, attention_knockout, check_knockout
from flowtracer.intervention.prefill import Prefilled, prefill

__all__ = ["Knockout", "Prefilled", "attention_knockout", "check_knockout", "decode", "prefill"]
