"""Rules for the code as a whole: who may import whom, how long things are, what the docs show."""

import ast
import re
from pathlib import Path

import pytest
from imports import (
    PACKAGE,
    ROOT,
    find_cycle,
    module_files,
    module_imports,
    package_imports,
    written,
)

MOST_TOP_LEVEL = 3  # modules beside the packages, without __init__ and __main__
MOST_LINES = 300  # of a module
MOST_BODY = 60  # lines of a function, docstring aside
MOST_POSITIONAL = 8  # parameters that can be given by position

MAY_IMPORT = {
    "records": "",
    "storage": "records",
    "kernels": "",
    "statistics": "",
    "flow": "kernels",
    "models": "",
    "regions": "",
    "math_answers": "",
    "render": "flow storage",
    "attention": "kernels models",
    "intervention": "models",
    "tasks": "math_answers records regions",
    "scorers": "attention flow models regions",
    "tracing": "attention flow models regions render scorers storage",
    "credit": "attention flow kernels models regions scorers statistics",
    "gradients": "credit models scorers",
    "watching": "records render storage",
    "evaluation": "models regions statistics storage tasks",
    "rollouts": "attention credit models records regions scorers storage",
    "integrations": "attention credit gradients models regions scorers service tasks watching",
    "training": "credit flow gradients integrations models option_names records regions render storage tasks "
    "watching",
    "studies": "attention credit evaluation flow gradients intervention math_answers models records regions "
    "render rollouts scorers statistics storage tasks training",
    "service": "attention credit models storage workbench",
    "workbench": "attention flow intervention math_answers models records regions render "
    "scorers tasks tracing",
    "cli": "credit evaluation models option_names records regions render rollouts scorers service "
    "storage studies tasks tracing training watching workbench",
}
KERNELS = "src/flowtracer/kernels"  # Triton passes arguments by position
STILL_POSITIONAL = {"_attention", "score"}
PATHS_IN_DOCS = re.compile(r"`((?:src|tests|docs|scripts|bench|configs)/[\w./-]+)`")


def functions():
    """(where, function) for every function of the package."""
    for path in module_files().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}", node


def fail_with(faults):
    """Fail with one sentence a fault; none, and the test passes."""
    text = "\n".join(faults)
    if text:
        pytest.fail(text, pytrace=False)


def test_packages_import_only_what_they_may():
    allowed = {name: set(targets.split()) for name, targets in MAY_IMPORT.items()}
    fail_with(
        f"{name} imports {target}: move what is shared into a package below both, or allow it in "
        "MAY_IMPORT with a reason in the commit"
        for name, targets in sorted(package_imports(module_imports()).items())
        for target in sorted(targets - allowed.get(name, set()))
    )


def test_there_is_no_import_cycle():
    modules = module_imports()
    inner = {name: targets for name, targets in modules.items() if name.count(".")}
    cycles = [find_cycle(inner), find_cycle(package_imports(modules))]
    fail_with(
        f"import cycle {' -> '.join(cycle)}: let one of them get what it needs as an argument"
        for cycle in cycles
        if cycle
    )


def test_the_top_level_has_few_modules():
    names = sorted({path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"})
    if len(names) > MOST_TOP_LEVEL:
        fail_with([f"{len(names)} modules beside the packages ({', '.join(names)}): move some"])


def test_modules_are_short():
    counts = {path: len(path.read_text().splitlines()) for path in module_files().values()}
    fail_with(
        f"{path.relative_to(ROOT)} has {count} lines, at most {MOST_LINES}: split it by idea"
        for path, count in counts.items()
        if count > MOST_LINES
    )


def test_functions_are_short():
    faults = []
    for where, node in functions():
        body = node.body[1:] if ast.get_docstring(node, clean=False) else node.body
        lines = node.end_lineno - body[0].lineno + 1 if body else 0
        if lines > MOST_BODY:
            faults.append(f"{where} has {lines} lines, at most {MOST_BODY}: take a step out of it")
    fail_with(faults)


def test_functions_take_few_parameters_by_position():
    faults = []
    for where, node in functions():
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > MOST_POSITIONAL and not where.startswith(KERNELS):
            faults.append(
                f"{where} takes {count} parameters by position, at most {MOST_POSITIONAL}: make those "
                "that say nothing without their name keyword-only"
            )
    fail_with(faults)


def test_the_figure_and_the_table_of_imports_are_up_to_date():
    fail_with(
        f"{path.relative_to(ROOT)} is out of date: run python scripts/imports.py"
        for path, text in written(package_imports(module_imports())).items()
        if not path.exists() or path.read_text() != text
    )


@pytest.mark.parametrize("page", ["docs/code.md", "CONTRIBUTING.md"])
def test_paths_named_in_the_guides_exist(page):
    paths = PATHS_IN_DOCS.findall((ROOT / page).read_text())
    assert paths
    fail_with(
        f"{page} names {path}, which does not exist" for path in paths if not (ROOT / path).exists()
    )


def test_every_package_is_on_the_map():
    page = (ROOT / "docs/code.md").read_text()
    names = [
        path
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    fail_with(
        f"docs/code.md does not name {path.relative_to(ROOT)}: add a line to its table"
        for path in sorted(names)
        if not path.stem.startswith("__") and f"`{path.relative_to(ROOT)}" not in page
    )


def test_what_the_guide_calls_by_name_is_where_it_says():
    """`path`, `name` in a row of the guide: the module defines the name."""
    page = (ROOT / "docs/code.md").read_text()
    pairs = re.findall(r"`(src/[\w/]+\.py)`, `(\w+)`", page)
    assert len(pairs) > 5
    fail_with(
        f"docs/code.md says that {path} has {name}, which it does not define"
        for path, name in pairs
        if not re.search(rf"^(def |class )?{name}\b", Path(ROOT / path).read_text(), re.MULTILINE)
    )


def test_a_cycle_is_found():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert sorted(set(find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}))) == ["a", "b", "c"]
