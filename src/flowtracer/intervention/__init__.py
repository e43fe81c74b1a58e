"""Hide tokens from everything that comes after them, and see what the model then says."""

from flowtracer.intervention.decode import decode
from flowtracer.intervention.knockout import hiding
from flowtracer.intervention.prefill import Prefilled, prefill

__all__ = ["Prefilled", "decode", "hiding", "prefill"]
