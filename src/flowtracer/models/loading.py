"""Load a model: a hub id, a local folder, a .gguf file, or the embedded default."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import ProcessorMixin as Processor
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file

from flowtracer.models.decoder import WITH_PICTURES

EMBEDDED = "embedded"


class ModelError(ValueError):
    """A model cannot be loaded; the message says which and what to do."""


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer and to be traced."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    name: str  # as the user gave it


def load(
    source: str | Path = EMBEDDED,
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a model and its tokenizer for inference.

    source: "embedded" (the small Countdown model inside the package), a folder, a .gguf file
        (needs the extra `flowtracer[gguf]`), or a hub id such as "Qwen/Qwen3-0.6B". Only
        safetensors weights are read; remote code runs only if `trust_remote_code` is set.
    dtype: "float32", "bfloat16", "float16", or "auto": the checkpoint's own, but float32 on a
        processor that has to emulate half precision, and for the embedded model, which is so small
        that the same numbers on every machine are worth more.
    device: "auto" (CUDA if present, else the CPU) or any torch device.

    Raises ModelError.
    """
    name = str(source)
    path, gguf = _locate(name)
    stored_dtype, target = _dtype(dtype), _device(device)
    options = {"trust_remote_code": trust_remote_code, **gguf}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        if not gguf:
            _check_weights(name, path)
        model: PreTrainedModel = _kind_of(path, options).from_pretrained(
            path, dtype=stored_dtype, use_safetensors=True, **options
        )
    except ModelError:
        raise
    except Exception as error:  # transformers raises many kinds for one bad source
        raise ModelError(_reason(name, error, trust_remote_code)) from error
    if dtype == "auto" and (name == EMBEDDED or emulates(target, model.dtype)):
        model = model.float()
    torch.nn.Module.to(model, target)
    return Loaded(model.eval(), tokenizer, name)


def model_path(
    name: str, *, trust_remote_code: bool = False, option: str = "--trust-remote-code"
) -> str:
    """Where transformers finds a model of this name: "embedded", a folder or a hub id.

    For libraries that load it themselves: its files are checked as in `load`. option: what allows code
    that comes with the model, for the message.

    Raises ModelError, also for a .gguf file, which cannot be trained.
    """
    path, gguf = _locate(name)
    if gguf:
        raise ModelError(f"model {name}: a .gguf file cannot be trained; give a folder or a hub id")
    try:
        AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        _check_weights(name, path)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_reason(name, error, trust_remote_code, option)) from error
    return path


def load_config(name: str, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The config of a model alone. Raises ModelError."""
    path, gguf = _locate(name)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code, **gguf)
    except Exception as error:
        raise ModelError(_reason(name, error, trust_remote_code)) from error


def load_processor(name: str, *, trust_remote_code: bool = False) -> Processor:
    """The processor of a model that takes pictures. Raises ModelError, also for a model of text only."""
    path, gguf = _locate(name)
    try:
        processor = (
            None
            if gguf
            else AutoProcessor.from_pretrained(path, trust_remote_code=trust_remote_code)
        )
    except Exception as error:
        raise ModelError(_reason(name, error, trust_remote_code)) from error
    if not isinstance(processor, Processor):
        raise ModelError(f"model {name} takes no pictures; choose another, or leave them out")
    return processor


def _kind_of(path: str, options: dict[str, Any]) -> Any:
    """The class that loads a model: with its part for pictures where that is read."""
    if "gguf_file" in options:
        return AutoModelForCausalLM
    config = AutoConfig.from_pretrained(path, trust_remote_code=options["trust_remote_code"])
    pictured = config.model_type in WITH_PICTURES
    return AutoModelForImageTextToText if pictured else AutoModelForCausalLM


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a model alone. Raises ModelError."""
    path, gguf = _locate(name)
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code, **gguf)
    except Exception as error:
        raise ModelError(_reason(name, error, trust_remote_code)) from error


def _locate(name: str) -> tuple[str, dict[str, str]]:
    """Path for `from_pretrained`, and its option `gguf_file` for a .gguf file."""
    if name == EMBEDDED:
        return str(files("flowtracer") / "embedded"), {}
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"model {name}: there is no such file")
        return str(path.parent), {"gguf_file": path.name}
    looks_local = path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    if not looks_local:
        return name, {}
    if not (path / "config.json").is_file():
        raise ModelError(
            f"model {name}: no folder with a config.json is there; give a folder saved by "
            "transformers, a .gguf file or a hub id"
        )
    return str(path), {}


def _check_weights(name: str, path: str) -> None:
    """Raise ModelError if files of the model lead to weights that are not safetensors beside them.

    transformers reads whatever an index names, through `torch.load` and outside the folder too.
    """
    config = _json_file(path, "config.json")
    explicit = str(config.get("transformers_weights") or SAFE_WEIGHTS_INDEX_NAME)
    weights = {explicit.removesuffix(".index.json")}
    if explicit.endswith(".index.json"):
        weights |= set(map(str, _json_file(path, explicit).get("weight_map", {}).values()))
    adapter = _json_file(path, "adapter_config.json")
    if adapter and not _find_file(path, "adapter_model.safetensors"):
        weights.add("adapter_model.bin")
    for weight in sorted(weights):
        outside = PurePath(weight).is_absolute() or ".." in PurePath(weight).parts
        if outside or not weight.endswith(".safetensors"):
            raise ModelError(
                f"model {name} names {weight!r} for its weights; only safetensors files inside its "
                "folder are read"
            )
    base = str(adapter.get("base_model_name_or_path") or path)
    if not config and base != path:
        _check_weights(name, base)


def _json_file(path: str, name: str) -> dict[str, Any]:
    """Contents of a file of the model, empty if it does not exist."""
    file = _find_file(path, name)
    contents = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    if not isinstance(contents, dict):
        raise ValueError(f"{name} is not a JSON object")
    return contents


def _find_file(path: str, name: str) -> str | None:
    """A file of a folder or of a hub id, if it exists and the hub can be reached."""
    return cached_file(
        path,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )


def _dtype(name: str) -> str | torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name != "auto" and name not in known:
        raise ModelError(f"dtype {name} is unknown; use auto, {', '.join(known)}")
    return known.get(name, "auto")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name} cannot be used: {_first_line(error)}") from error
    if device.type == "meta":
        raise ModelError("device meta holds no numbers; use auto, cpu or cuda")
    return device


def _reason(name: str, error: Exception, trusted: bool, option: str = "--trust-remote-code") -> str:
    text = str(error)
    if "trust_remote_code" in text and not trusted:
        return (
            f"model {name} brings code of its own; if you trust it, allow it with "
            f"trust_remote_code ({option})"
        )
    if isinstance(error, ImportError):
        return f"model {name} needs a package that is not installed: {_first_line(error)}"
    if "safetensors" in text and ("does not appear" in text or "no file" in text.lower()):
        return f"model {name} has no safetensors weights; other formats are not read"
    if "offline" in text.lower() or "connect" in text.lower() or "resolve" in text.lower():
        return (
            f"model {name} is neither a local folder nor reachable on the hub: {_first_line(error)}"
        )
    return f"model {name} cannot be loaded: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def emulates(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether products of this half-precision dtype are emulated, and 50 times slower than float32."""
    if device.type != "cpu":
        return False
    if dtype == torch.bfloat16:
        return not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float16 and not torch.ops.mkldnn._is_mkldnn_fp16_supported()
