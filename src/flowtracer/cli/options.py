"""What commands share: options of a YAML file and of Credit, and a sentence for a missing package."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from flowtracer.credit.arguments import CreditArguments


def read_defaults(context: typer.Context, file: Path | None) -> Path | None:
    """Callback of `--config`: its keys become the defaults of the command's options.

    Raises ValueError for a file that is not a mapping or has a key that is no option.
    """
    if file is None or context.resilient_parsing:
        return file
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file}: is not a mapping of settings such as `task: gsm8k`")
    repeatable = {one.name: getattr(one, "multiple", False) for one in context.command.params}
    if values.get("trust_remote_code"):
        raise ValueError(
            f"{file}: trust_remote_code runs code that comes with the model; pass --trust-remote-code on "
            "the command line if you trust it"
        )
    unknown = [name for name in values if name not in repeatable]
    if unknown:
        raise ValueError(f"{file}: setting {unknown[0]!r} is unknown; see --help")
    defaults = {
        name: [value] if repeatable[name] and not isinstance(value, list) else value
        for name, value in values.items()
    }
    context.default_map = {**(context.default_map or {}), **defaults}
    return file


CONFIG: Any = typer.Option(
    "--config",
    callback=read_defaults,
    is_eager=True,
    help="YAML file with any of these options; the command line takes precedence.",
)


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a missing package into a ValueError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this command needs the package {error.name}; install it with "
            f"`pip install 'flowtracer[{extra}]'`"
        ) from error


def with_credit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `CreditArguments`, which it takes as `credit`."""
    signature = inspect.signature(command)
    options = {
        one.name: inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=one.default,
            annotation=Annotated[one.type, typer.Option(help=one.metadata["help"])],
        )
        for one in fields(CreditArguments)
    }

    @wraps(command)
    def run(**values: Any) -> None:
        credit = CreditArguments(**{name: values.pop(name) for name in options})
        command(**values, credit=credit)

    others = [one for name, one in signature.parameters.items() if name != "credit"]
    run.__signature__ = signature.replace(parameters=[*others, *options.values()])  # type: ignore[attr-defined]
    return run
