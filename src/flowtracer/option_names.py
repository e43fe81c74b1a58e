"""Names of options: the same on the command line, in settings files and in Python.

`--max-new-tokens` and `--max_new_tokens` are one option, `max_new_tokens` and `max-new-tokens` one key of a
settings file. A name that does not exist is refused with the one that was probably meant.
"""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

# Names of other commands, of TRL or of earlier versions, and what the option is called here.
RENAMED: dict[str, tuple[str, ...]] = {
    "share": ("ratio",),
    "select_share": ("ratio",),
    "select_by": ("by",),
    "select_ratio": ("ratio",),
    "select_end": ("end",),
    "select_among": ("among",),
    "credit_layers": ("layers",),
    "measure": ("scorer", "method", "rule"),
    "scorer": ("method", "rule"),
    "method": ("scorer", "rule"),
    "rule": ("method", "scorer"),
    "spared": ("excluded",),
    "task_source": ("source",),
    "task_split": ("split", "test_split"),
    "task_limit": ("problems", "test_problems"),
    "limit": ("problems",),
    "samples": ("responses", "test_responses", "num_generations"),
    "responses": ("test_responses", "num_generations"),
    "batch": ("test_batch",),
    "out": ("output_dir",),
    "output_dir": ("out",),
    "model": ("model_name_or_path",),
    "model_name_or_path": ("model",),
    "max_new_tokens": ("max_completion_length",),
    "max_completion_length": ("max_new_tokens",),
}


def normal_name(name: str) -> str:
    """`--max-new-tokens` or `max_new_tokens` as `max_new_tokens`."""
    return name.lstrip("-").replace("-", "_")


def meant(name: str, known: Collection[str]) -> str | None:
    """The known option that a name stands for; None if there is none like it.

    known: names as `normal_name` gives them.
    """
    name = normal_name(name)
    renamed = next((new for new in RENAMED.get(name, ()) if new in known), None)
    if renamed is not None:
        return renamed
    longer = sorted((other for other in known if other.startswith(name)), key=len) if name else []
    return next(iter(longer + get_close_matches(name, known, n=1)), None)


def unknown_option(name: str, known: Collection[str]) -> str:
    """A sentence about an option of the command line that does not exist."""
    new = meant(name, known)
    advice = f"; it is called --{new.replace('_', '-')} here" if new else ""
    if new and new not in RENAMED.get(normal_name(name), ()):
        advice = f"; did you mean --{new.replace('_', '-')}"
    return f"there is no option {name}{advice}"


def unknown_setting(name: str, known: Collection[str]) -> str:
    """The same of a key in a settings file."""
    new = meant(name, known)
    advice = "; see --help"
    if new:
        renamed = new in RENAMED.get(normal_name(name), ())
        advice = f"; it is called {new} here" if renamed else f"; did you mean {new}"
    return f"setting {name!r} is unknown{advice}"


def read_settings_file(file: Path) -> dict[str, Any]:
    """The mapping of a YAML file, its keys with underscores. Raises ValueError in one sentence."""
    if not file.is_file():
        raise ValueError(f"{file} is not a file; give a YAML file of settings")
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{file}: reading YAML needs the package PyYAML; install it with `pip install pyyaml`"
        ) from error
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{file}: cannot be read as YAML: {reason}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file}: is not a mapping of settings such as `task: gsm8k`")
    settings: dict[str, Any] = {}
    for key, value in values.items():
        name = normal_name(str(key))
        if name in settings:
            raise ValueError(f"{file}: setting {name!r} is given twice")
        settings[name] = value
    return settings
