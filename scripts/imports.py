"""Who imports whom, read from the code: the figure and the table of docs/code.md.

    python scripts/imports.py            # writes both anew
    python scripts/imports.py --check    # exits with 1 if they are out of date

Imports inside functions count; those for type checkers only do not. An arrow leads from the package
that is imported to the one that imports it, which is the way the data goes. Arrows that follow from
others are left out: if credit imports scorers and scorers imports flow, none leads from flow to credit.
The figure leaves out the modules beside the packages (storage and records), which nearly all import.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "flowtracer"
FIGURE = ROOT / "docs" / "images" / "imports.svg"
PAGE = ROOT / "docs" / "code.md"
BEGIN, END = "<!-- begin: written by scripts/imports.py -->", "<!-- end -->"

Graph = dict[str, set[str]]  # name -> the names it imports

BOX = (112, 30)  # width and height, pixels
COLUMN, ROW, MARGIN = 154, 50, 16  # distances, pixels
SWEEPS = 24  # over all columns, to put boxes near what they are joined to


def module_files(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module's file, by dotted name; a package's is its `__init__`."""
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def module_imports(package: Path = PACKAGE) -> Graph:
    """For every module, the modules of the same package that it imports."""
    files = module_files(package)
    return {
        name: {target for target in _imported(ast.parse(path.read_text()), files) if target != name}
        for name, path in files.items()
    }


def package_imports(modules: Graph) -> Graph:
    """The same between packages and top-level modules, without the facade (`__init__`, `__main__`)."""
    graph: Graph = {}
    for name, targets in modules.items():
        if "." in name and not name.endswith(".__main__"):
            own = name.split(".")[1]
            others = {target.split(".")[1] for target in targets if "." in target}
            graph.setdefault(own, set()).update(others - {own})
    return graph


def _imported(node: ast.AST, files: dict[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in files)
    elif isinstance(node, ast.ImportFrom) and node.module in files:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in files else node.module
    for child in ast.iter_child_nodes(node):
        yield from _imported(child, files)


def find_cycle(graph: Graph) -> list[str]:
    """Names along one cycle of imports, the first again at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except ValueError as error:  # graphlib's CycleError names the cycle from imported to importing
        return error.args[1][::-1]
    return []


def necessary(graph: Graph) -> Graph:
    """The imports that do not follow from others (the transitive reduction)."""
    reached: Graph = {}
    for name in TopologicalSorter(graph).static_order():
        reached[name] = graph[name].union(*(reached[target] for target in graph[name]))
    return {
        name: {t for t in targets if not any(t in reached[other] for other in targets - {t})}
        for name, targets in graph.items()
    }


def columns(graph: Graph) -> dict[str, int]:
    """Each name's column: one after the last of what it imports."""
    level: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        level[name] = 1 + max((level[target] for target in graph[name]), default=-1)
    return level


def layout(graph: Graph, level: dict[str, int]) -> tuple[dict[str, float], list[list[str]]]:
    """Row of every point, and the points along every arrow from the imported to the importing.

    An arrow over several columns takes a row of its own in those between, so that it crosses no box.
    """
    arrows = []
    points: dict[int, list[str]] = {}
    for name in sorted(graph, key=lambda name: (level[name], name)):
        points.setdefault(level[name], []).append(name)
        for target in sorted(graph[name]):
            between = range(level[target] + 1, level[name])
            way = [f"{target}>{name}>{column}" for column in between]
            arrows.append([target, *way, name])
            for column, point in zip(between, way, strict=True):
                points.setdefault(column, []).append(point)
    joined: dict[str, list[str]] = {}
    for arrow in arrows:
        for left, right in pairwise(arrow):
            joined.setdefault(left, []).append(right)
            joined.setdefault(right, []).append(left)
    tallest = max(map(len, points.values()))
    row: dict[str, float] = {}
    for column in points.values():
        row |= {point: n + (tallest - len(column)) / 2 for n, point in enumerate(column)}
    for sweep in range(SWEEPS):
        for column in sorted(points, reverse=bool(sweep % 2)):
            wanted = {
                point: sum(row[other] for other in joined.get(point, [point]))
                / len(joined.get(point, [point]))
                for point in points[column]
            }
            order = sorted(points[column], key=lambda point: (wanted[point], point))
            middle = sum(wanted.values()) / len(order)
            first = min(max(0.0, middle - (len(order) - 1) / 2), tallest - len(order))
            row |= {point: first + n for n, point in enumerate(order)}
    return row, arrows


def figure(graph: Graph) -> str:
    """The graph of packages as SVG; the same graph gives the same text."""
    packages = {name for name in graph if (PACKAGE / name).is_dir()}
    graph = {name: graph[name] & packages for name in packages}
    level = columns(graph)
    row, arrows = layout(necessary(graph), level)
    width, height = BOX
    wide = MARGIN * 2 + COLUMN * max(level.values()) + width
    high = MARGIN * 2 + ROW * max(row.values()) + height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}" height="{high:g}" '
        f'viewBox="0 0 {wide:g} {high:g}" font-family="sans-serif" font-size="14">',
        "<title>Packages of flowtracer: an arrow leads to the package that imports</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#567"/></marker></defs>',
    ]
    for arrow in arrows:
        first = level[arrow[0]]
        line = [
            (MARGIN + COLUMN * (first + n), MARGIN + ROW * row[point] + height / 2)
            for n, point in enumerate(arrow)
        ]
        x, y = line[0]
        path = f"M{x + width:g} {y:g}"
        for n, (x, y) in enumerate(line[1:], 1):
            before, from_y = line[n - 1][0] + width, line[n - 1][1]
            bend = (x - before) / 2
            path += f"C{before + bend:g} {from_y:g} {x - bend:g} {y:g} {x:g} {y:g}"
            if n < len(line) - 1:
                path += f"L{x + width:g} {y:g}"
        parts.append(
            f'<path d="{path}" fill="none" stroke="#567" stroke-width="1.2" marker-end="url(#tip)"/>'
        )
    for name in sorted(level):
        x, y = MARGIN + COLUMN * level[name], MARGIN + ROW * row[name]
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="5" fill="#e8eef6" '
            'stroke="#234"/>'
            f'<text x="{x + width / 2:g}" y="{y + 20:g}" text-anchor="middle" fill="#012">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def table(graph: Graph) -> str:
    """Markdown: what each package imports, in the order of the figure's columns."""
    level = columns(graph)
    lines = ["| package | imports |", "|---|---|"]
    for name in sorted(graph, key=lambda name: (level[name], name)):
        lines.append(f"| `{name}` | {', '.join(f'`{t}`' for t in sorted(graph[name])) or 'none'} |")
    return "\n".join(lines)


def written(graph: Graph) -> dict[Path, str]:
    """What the two files must contain."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return {FIGURE: figure(graph), PAGE: f"{before}{BEGIN}\n{table(graph)}\n{END}{after}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    options = parser.parse_args()
    for path, text in written(package_imports(module_imports())).items():
        if options.check and (not path.exists() or path.read_text() != text):
            sys.exit(f"{path.relative_to(ROOT)} is out of date: run python scripts/imports.py")
        if not options.check:
            path.write_text(text)


if __name__ == "__main__":
    main()
