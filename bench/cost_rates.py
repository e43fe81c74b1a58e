"""What a GPU does in a second, and the seconds that counted work takes on it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Device:
    """Rates of a GPU, a second; where they come from is in docs/scale.md."""

    name: str
    products: float  # operations of bfloat16 products, two for each multiplication
    attention: float  # the same within PyTorch's attention
    logsumexp: float  # the same within our kernels
    head_sum: float
    bytes: float
    exponentials: float
    launch: float = 5e-6  # seconds
    step: float = (
        0.6e-6  # seconds, of a solve's step that waits for the one before; fitted on an H200
    )
    cache: float = 50e6  # bytes
    memory: float = 80e9  # bytes


H100 = Device("H100", 790e12, 450e12, 790e12, 790e12, 3.0e12, 16 * 132 * 1.7e9)
H200 = replace(H100, name="H200", attention=570e12, bytes=4.3e12, memory=141e9)


def reached(device: Device) -> Device:
    """The device with products at the rates that an H200 reached in bench/gpu.py, Qwen3-4B at 8K."""
    return replace(device, products=540e12, logsumexp=405e12, head_sum=340e12)


@dataclass(frozen=True)
class Work:
    """What kernels of one kind do, one after another."""

    products: float = 0.0  # operations, two for each multiplication
    bytes: float = 0.0  # to and from the device's memory
    exponentials: float = 0.0
    launches: float = 0.0
    steps: float = 0.0  # that wait for each other within a launch
    rate: str = "products"  # the field of Device that says how fast products are

    def each(self, count: float) -> "Work":
        """The same for each of so many texts at once: in as many launches and steps."""
        names = ("products", "bytes", "exponentials")
        return replace(self, **{name: count * getattr(self, name) for name in names})

    def times(self, count: float) -> "Work":
        """The same so many times, one after another."""
        return replace(self.each(count), launches=count * self.launches, steps=count * self.steps)


Parts = dict[str, Work]


def seconds_of(work: Work, device: Device) -> float:
    """`max(products, bytes, exponentials) + launches + steps`, each by its rate."""
    busy = (
        work.products / getattr(device, work.rate),
        work.bytes / device.bytes,
        work.exponentials / device.exponentials,
    )
    return max(busy) + work.launches * device.launch + work.steps * device.step


def seconds(parts: Parts, device: Device) -> float:
    return sum(seconds_of(work, device) for work in parts.values())


def launches(parts: Parts) -> float:
    return sum(work.launches for work in parts.values())
