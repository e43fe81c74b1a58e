"""Refuse what cannot fit, before a long forward pass and before the system kills the process."""

from pathlib import Path

import torch


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
            f"GB are free on {device}; shorten the text or use a smaller batch"
        )
