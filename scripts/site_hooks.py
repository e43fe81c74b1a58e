"""MkDocs hooks: pages from outside docs/, links between files of the repository, equations as MathML.

The Markdown files link to one another as files of the repository, so that they read well there too.
Here each link that leaves docs/ is turned into one within the site, and what it names is brought along:
Markdown as a page, other text as a page of code, everything else as a file.
"""

import html
import os
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs/"
ALWAYS = ["CONTRIBUTING.md", "CHANGELOG.md"]
CODE = {".py": "python", ".yaml": "yaml", ".json": "json", ".toml": "toml", ".ipynb": "json"}
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the results, the pages at the top of the repository and all that they link to."""
    readmes = sorted((ROOT / "results").glob("*/README.md"))
    waiting = [*ALWAYS, *(_name(path) for path in readmes)]
    waiting += [DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if not name.startswith(DOCS):
            files.append(_file(name, config))
        if name.endswith(".md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            targets = (_target(name, link) for _, link, _, _ in LINK.findall(text))
            waiting += [target for target in targets if target]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    page_path = page.file.src_uri
    source = DOCS + page_path if (ROOT / DOCS / page_path).is_file() else page_path

    def moved(match: re.Match[str]) -> str:
        opening, link, anchor, closing = match.groups()
        target = _target(source, link)
        if target is None:
            return match[0]
        to = posixpath.relpath(_site_name(target), posixpath.dirname(page_path) or ".")
        return f"{opening}{to}{anchor or ''}{closing}"

    return LINK.sub(moved, markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write equations as MathML, which browsers show without a script."""

    def written(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[2]).strip(), display=display)

    return MATH.sub(written, content)


def on_post_build(config: MkDocsConfig) -> None:
    """Take the addresses of a CDN, for features that are not used, out of the theme's script."""
    for path in (Path(config.site_dir) / "assets/javascripts").glob("bundle.*.js*"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("https://unpkg.com/", "not-used/"), encoding="utf-8")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _target(source: str, link: str) -> str | None:
    """Name in the repository of what a link in the file `source` leads to, None for anything else."""
    path = Path(os.path.normpath(ROOT / posixpath.dirname(source) / link))
    if path.is_dir():
        path = path / "README.md"
    return _name(path) if path.is_file() and path.is_relative_to(ROOT) else None


def _site_name(name: str) -> str:
    """Where a file of the repository is in the site's sources."""
    if name.startswith(DOCS):
        return name.removeprefix(DOCS)
    return name + ".md" if Path(name).suffix in CODE else name


def _file(name: str, config: MkDocsConfig) -> File:
    language = CODE.get(Path(name).suffix)
    if language is None:
        return File(name, str(ROOT), config.site_dir, config.use_directory_urls)
    text = (ROOT / name).read_text(encoding="utf-8")
    content = f"# `{name}`\n\n~~~~{language}\n{text}\n~~~~\n"
    return File.generated(config, _site_name(name), content=content)
