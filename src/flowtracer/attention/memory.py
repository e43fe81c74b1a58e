"""Refuse what cannot fit, before a long forward pass and before the system kills the process."""

import math
from pathlib import Path

import torch

DENSE_SHARE = 1 / 16  # of free memory that one text's T x T may take, our choice


def dense_limit(device: torch.device) -> int:
    """Tokens of the longest text whose T x T is held as a whole; beyond, it is read in tiles."""
    available = available_bytes(device)
    return 1 << 30 if available is None else math.isqrt(int(DENSE_SHARE * available / 4))


def reads_in_tiles(length: int, device: torch.device, tile_above: int | None) -> bool:
    """Whether a text of `length` tokens is longer than `tile_above`; None: than memory suggests."""
    return length > (dense_limit(device) if tile_above is None else tile_above)


def available_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken on the device; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
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
