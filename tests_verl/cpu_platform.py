"""A platform for verl that is this machine's CPU, so that its own engine and workers can run here.

verl has a registry for hardware; what a platform has to offer is the abstract part of `PlatformBase`.
Loaded in every process by VERL_USE_EXTERNAL_MODULES=cpu_platform and chosen by VERL_PLATFORM=cpu.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
import torch.distributed
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry, set_platform


def _device_module() -> ModuleType:
    """torch.cpu, with the questions about memory answered that verl's logs ask."""
    module = ModuleType("cpu_device")
    module.__dict__.update(vars(torch.cpu))
    for name in (
        "memory_allocated",
        "memory_reserved",
        "max_memory_allocated",
        "max_memory_reserved",
    ):
        setattr(module, name, lambda *args: 0)
    module.mem_get_info = lambda *args: (1 << 30, 1 << 30)  # type: ignore[attr-defined]
    module.get_device_name = lambda *args: "CPU"  # type: ignore[attr-defined]
    module.empty_cache = lambda: None  # type: ignore[attr-defined]
    module.set_device = lambda *args: None  # type: ignore[attr-defined]
    return module


@PlatformRegistry.register(platform="cpu")
class CPUPlatform(PlatformBase):
    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module()

    def is_available(self) -> bool:
        return True

    def current_device(self) -> Any:
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CPU_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "CPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def ray_resource_options(self, num_gpus: float) -> dict[str, Any]:
        return {}

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None


_init_process_group = torch.distributed.init_process_group


def _init_once(backend: str | None = None, **settings: Any) -> None:
    """verl asks for "cpu:gloo" beside the device's own backend, which here is the same one."""
    if backend is not None:
        backend = ",".join(dict.fromkeys(backend.split(",")))
    _init_process_group(backend, **settings)


torch.distributed.init_process_group = _init_once
set_platform(CPUPlatform())
