"""Build the kernels for GPUs that need not be there; print registers, spills and shared memory.

    python scripts/compile_kernels.py          as JSON, one row for each kernel and architecture

Shapes are those of Qwen3-4B (32 heads of 128, 8 of keys) and of heads of 256, in both precisions.
"""

import json
import os
import re
import subprocess
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import triton
from triton import language
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from flowtracer.kernels import head_sum, solve
from flowtracer.kernels.head_sum_kernels import head_sum_kernel, logsumexp_kernel
from flowtracer.kernels.solve_kernel import solve_kernel

ARCHITECTURES = (80, 90, 100)
TOOLS = Path(nvidia.__file__).parent / "bin"
POINTERS = {"TABLE": "*i64", "QUESTION": "*i8"}
POINTERS |= dict.fromkeys(("LSE", "OUT", "SINK", "A"), "*fp32")
WIDE = dict.fromkeys(("H", "G", "RELAY"), "*fp64")
FLOATS = {"scale": "fp32", "weight": "fp32", "tiny": "fp64"}


def compiled(
    kernel: Any, constants: dict[str, Any], arch: int, *, warps: int, stages: int, dtype: str
) -> dict[str, int]:
    """Registers, bytes of stack that spills take, and shared memory of one kernel."""
    types = POINTERS | FLOATS | dict.fromkeys(("Q", "K"), f"*{dtype}")
    if kernel is solve_kernel:
        types |= WIDE | {"SINK": "*fp64"}
    signature, attributes = {}, {}
    for number, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else types.get(name, "i32")
        # What Triton finds out of real tensors: pointers and strides are multiples of 16.
        if name not in constants and (name in types or name[:2] in ("q_", "k_", "a_")):
            attributes[(number,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": warps, "num_stages": stages}
    built = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        command = [str(TOOLS / "cuobjdump"), "-res-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    usage = re.search(r"REG:(\d+) STACK:(\d+)", said.stdout + said.stderr)
    assert usage is not None
    return {
        "registers": int(usage[1]),
        "spilled_bytes": int(usage[2]),
        "shared_bytes": built.metadata.shared,
    }


def rows() -> list[dict[str, Any]]:
    result = []
    for arch, width, half in product(ARCHITECTURES, (128, 256), (True, False)):
        dtype = "bf16" if half else "fp32"
        for kernel, heads in ((head_sum_kernel, True), (logsumexp_kernel, False)):
            tile = head_sum.tile_of(width, half=half, heads=heads, capability=arch)
            three = not half and width <= head_sum.WIDEST_OF_THREE
            constants = {
                "GROUP": 4, "D": width, "WIDTH": width, "BM": tile.queries, "BN": tile.keys,
                "SOFTCAP": 0.0, "WINDOW": 0, "PRECISION": "tf32x3" if three else "ieee",
            }  # fmt: skip
            constants |= {"KEY_HEADS": 8} if heads else {"SINKS": False}
            usage = compiled(
                kernel, constants, arch, warps=tile.warps, stages=tile.stages, dtype=dtype
            )
            case = {"kernel": kernel.__name__, "arch": arch, "width": width, "dtype": dtype}
            result.append(case | usage)
    for arch in ARCHITECTURES:
        constants = {"BS": solve.BLOCK, "BK": solve.PANEL, "WIDE": language.float64}
        usage = compiled(solve_kernel, constants, arch, warps=solve.WARPS, stages=3, dtype="fp32")
        case = {"kernel": "solve_kernel", "arch": arch, "width": 0, "dtype": "fp64"}
        result.append(case | usage)
    return result


if __name__ == "__main__":
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise SystemExit("unset TRITON_INTERPRET: an interpreted kernel is not built")
    print(json.dumps(rows(), indent=1))
