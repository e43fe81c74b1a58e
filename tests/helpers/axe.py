"""axe-core, which finds faults of accessibility in a page; from npm, where it is installed."""

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def axe_script() -> str:
    """Its source, from the file or folder that AXE_CORE names, else from node_modules; else skips."""
    named = os.environ.get("AXE_CORE")
    path = Path(named) if named else ROOT / "node_modules" / "axe-core"
    path = path / "axe.min.js" if path.is_dir() else path
    if not path.is_file():
        pytest.skip("no axe-core; npm install --no-save axe-core, or set AXE_CORE to its folder")
    return path.read_text(encoding="utf-8")


def serious_faults(browser: Any) -> list[str]:
    """Serious and critical findings in what the browser shows, each with an element that has it."""
    if not browser.execute_script("return Boolean(window.axe)"):
        browser.execute_script(axe_script())
    violations = browser.execute_async_script(
        "const done = arguments[0]; axe.run(document).then(found => done(found.violations))"
    )
    return [
        f"{fault['impact']}: {fault['id']}: {fault['help']}: {node['html'][:200]}"
        for fault in violations
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"][:3]
    ]
