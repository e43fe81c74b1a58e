"""`--config`: options of a command out of a YAML file."""

from pathlib import Path

import typer

from flowtracer.option_names import read_settings_file, unknown_setting


def read_defaults(context: typer.Context, file: Path | None) -> Path | None:
    """Callback of `--config`: its keys become the defaults of the command's options.

    Raises ValueError for a file that is not a mapping or has a key that is no option.
    """
    if file is None or context.resilient_parsing:
        return file
    values = read_settings_file(file)
    repeatable = {
        parameter.name: getattr(parameter, "multiple", False)
        for parameter in context.command.params
        if parameter.name not in (None, "config", "help")
    }
    if values.get("trust_remote_code"):
        raise ValueError(
            f"{file}: trust_remote_code runs code that comes with the model; pass --trust-remote-code on "
            "the command line if you trust it"
        )
    for name in values:
        if name not in repeatable:
            raise ValueError(
                f"{file}: {unknown_setting(name, [str(parameter) for parameter in repeatable])}"
            )
    defaults = {
        name: [value] if repeatable[name] and not isinstance(value, list) else value
        for name, value in values.items()
    }
    context.default_map = {**(context.default_map or {}), **defaults}
    return file
