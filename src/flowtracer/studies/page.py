"""`flowtracer study report`: the tables and figures of several studies on one page."""

import base64
import html
import json
import re
from datetime import date
from importlib.resources import files
from pathlib import Path
from string import Template

from flowtracer.storage import atomic_write, read_json
from flowtracer.studies.provenance import shortened

TABLE_FILE = "table.md"
INTERVAL = re.compile(r"<td>([^<]*?) (\[[^<\]]*\])</td>")
VERDICT = re.compile("<td>(better|worse|undecided)</td>")
NAME = re.compile(r"(?<=<tr>\n<td>)(?:<code>)?[^<]*")
AFTER = re.compile("[@=,_]")  # where a scorer's name may break
PICTURE = re.compile(r"<p>(<img [^>]*>)</p>")
# A picture in the study's own folder, in Markdown and in a page.
LINKED = re.compile(r"\]\(([^/\\:()]+\.png)\)")
SOURCE = re.compile(r'src="([^"/\\:]+\.png)"')
TABLE = re.compile("<table>.*?</table>", re.DOTALL)
# Columns from which a hint is shown, by the page's width.
WIDE = {"wide": 8, "middling": 5, "narrow": 3}


def find_studies(folder: Path) -> list[Path]:
    """Folders with a finished study's table, this one or those below it, by name.

    Raises ValueError if there is none.
    """
    studies = sorted(path.parent for path in folder.rglob(TABLE_FILE))
    if not studies:
        raise ValueError(f"{folder}: holds no finished study (no {TABLE_FILE}); run one first")
    return studies


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write `report.md` and `report.html`, which needs no other file; returns both paths."""
    studies = find_studies(folder)
    parts = [
        (_title(folder, study), study, (study / TABLE_FILE).read_text("utf-8")) for study in studies
    ]
    markdown = ["# Studies", ""]
    bodies = []
    for title, study, text in parts:
        linked = _linked(text, study.relative_to(folder).as_posix())
        markdown += [f"## {title}", "", linked.strip(), ""]
        bodies.append(f'<section id="{html.escape(title)}"><h2>{html.escape(title)}</h2>')
        bodies.append(_page_of(text, study) + "</section>")
    links = " · ".join(
        f'<a href="#{html.escape(title)}">{html.escape(title)}</a>' for title, _, _ in parts
    )
    frame = Template((files("flowtracer") / "studies" / "report.html").read_text("utf-8"))
    page = frame.substitute(links=links, body="\n".join(bodies), date=date.today().isoformat())
    paths = folder / "report.md", folder / "report.html"
    for path, content in zip(paths, ("\n".join(markdown), page), strict=True):
        with atomic_write(path) as partial:
            partial.write_text(content, encoding="utf-8")
    return paths


def _title(folder: Path, study: Path) -> str:
    return study.relative_to(folder).as_posix() if study != folder else folder.resolve().name


def _linked(text: str, below: str) -> str:
    """A study's table with its pictures in the folder `below`."""
    return LINKED.sub(lambda link: f"]({below}/{link[1]})", text)


def _page_of(text: str, study: Path) -> str:
    """A study's table as HTML with its pictures inside."""
    from markdown_it import MarkdownIt

    page: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    page = _boxed(page)
    return SOURCE.sub(lambda source: _embedded(study, source), page) + _settings(study)


def _embedded(study: Path, source: re.Match[str]) -> str:
    """The picture of an image's source as data; the source itself where it is not there."""
    path = study / source[1]
    if not path.is_file():
        return source[0]
    data = base64.b64encode(path.read_bytes()).decode()
    return f'src="data:image/png;base64,{data}"'


def _boxed(page: str) -> str:
    """Tables and pictures in boxes that scroll by themselves, intervals apart from their values."""
    page = INTERVAL.sub(r'<td>\1 <span class="interval">\2</span></td>', page)
    page = NAME.sub(lambda name: AFTER.sub(r"\g<0><wbr>", name[0]), page)
    page = VERDICT.sub(r'<td class="\1">\1</td>', page)
    page = PICTURE.sub(
        r'<div class="figure" role="region" aria-label="figure" tabindex="0">\1</div>', page
    )

    def box(table: re.Match[str]) -> str:
        columns = table[0].count("<th>")
        wide = next((name for name, least in WIDE.items() if columns >= least), "")
        return (
            f'<div class="table" role="region" aria-label="table" tabindex="0">{table[0]}</div>'
            f'<p class="hint {wide}">Scroll the table sideways for all of its {columns} columns.</p>'
        )

    return TABLE.sub(box, page)


def _settings(study: Path) -> str:
    """The study's own settings, folded."""
    path = study / "study.json"
    if not path.exists():
        return ""
    settings = read_json(path, dict)
    text = html.escape(json.dumps(shortened(settings), indent=1, ensure_ascii=False))
    return f"<details><summary>Settings</summary><pre>{text}</pre></details>"
