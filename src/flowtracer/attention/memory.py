"""Refuse what cannot fit, before a long forward pass and before the system kills the process."""

import math
from pathlib import Path

import torch

DENSE_RATIO = 1 / 16  # of free memory that one text's T x T may take, our choice
# Of free memory, what rows kept between two readings of tiles may take, our choice.
KEPT_RATIO = 1 / 8


def dense_limit(device: torch.device) -> int:
    """Tokens of the longest text whose attention is stored as a T x T matrix; beyond, it is read in tiles."""
    available = available_bytes(device)
    return 1 << 30 if available is None else math.isqrt(int(DENSE_RATIO * available / 4))


def available_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken on the device; None where nobody says."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    known = [free for free in (_machine_bytes(), _container_bytes()) if free is not None]
    return min(known, default=None)


def _machine_bytes() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def _container_bytes(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the container may still take, caches of files that can be dropped not counted as taken."""
    try:
        most, taken = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, int(most) - int(taken) + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return None


def check_memory(needed: int, device: torch.device, length: int) -> None:
    """Raise ValueError if `needed` bytes for a text of `length` tokens are more than there are."""
    available = available_bytes(device)
    if available is not None and needed > available:
        raise ValueError(
            f"the attention of {length:,} tokens needs {needed / 1e9:.1f} GB and {available / 1e9:.1f} "
            f"GB are free on {device}; shorten the text, use a smaller batch, or read a single text "
            "with `tiled_attention`"
        )
