"""Options of a command from a YAML file; the command line wins."""

from pathlib import Path
from typing import Any

import typer


def read_defaults(context: typer.Context, file: Path | None) -> Path | None:
    """Callback of `--config`: its keys become the defaults of the command's options.

    Raises ValueError for a file that is not a mapping or has a key that is no option.
    """
    if file is None or context.resilient_parsing:
        return file
    import yaml

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: is not a list of settings such as `task: gsm8k`")
    known = {one.name: getattr(one, "multiple", False) for one in context.command.params}
    unknown = [name for name in found if name not in known]
    if unknown:
        raise ValueError(f"{file}: setting {unknown[0]!r} is unknown; see --help")
    given = {
        name: [value] if known[name] and not isinstance(value, list) else value
        for name, value in found.items()
    }
    context.default_map = {**(context.default_map or {}), **given}
    return file


CONFIG: Any = typer.Option(
    "--config",
    callback=read_defaults,
    is_eager=True,
    help="YAML file with any of these options; the command line wins.",
)
