"""The count of what credit costs, which lives with the measurements."""

import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import cost  # noqa: E402
import cost_rates  # noqa: E402
import cost_tables  # noqa: E402

sys.path.remove(str(BENCH))
__all__ = ["cost", "cost_rates", "cost_tables"]
