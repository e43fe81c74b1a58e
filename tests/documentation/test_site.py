"""The check that a built site loads nothing from another address, and the site's own settings."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from site_check import loads, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>'),
        ("a.html", '<script src="//cdn.example/x.js"></script>'),
        ("a.html", '<img alt="" src="http://example.org/x.png">'),
        ("a.html", '<img srcset="x.png 1x, https://example.org/y.png 2x">'),
        ("a.html", '<link rel="stylesheet" href="https://fonts.example/css">'),
        ("a.html", '<link rel="preconnect" href="https://fonts.example">'),
        ("a.html", "<style>@import 'https://example.org/x.css';</style>"),
        ("a.html", '<p style="background: url(https://example.org/x.png)">'),
        ("a.html", '<form action="https://example.org"></form>'),
        ("a.svg", '<svg><image href="https://example.org/x.png"/></svg>'),
        ("a.css", "@font-face { src: url('https://example.org/x.woff2'); }"),
        ("a.js", 'load("https://unpkg.com/mermaid/dist/mermaid.min.js")'),
    ],
)
def test_addresses_that_a_browser_would_load_are_found(name, text):
    assert loads(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<a href="https://arxiv.org/abs/2606.10646">the paper</a>'),
        ("a.html", '<link rel="canonical" href="https://example.org">'),
        ("a.html", '<script src="assets/x.js"></script><img src="data:image/png;base64,//8=">'),
        ("a.svg", '<svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/></svg>'),
        ("a.css", "a { background: url(data:image/svg+xml;charset=utf-8,%3Csvg) }"),
        ("a.js", "// see https://example.org/why"),
    ],
)
def test_links_and_local_files_are_allowed(name, text):
    assert not loads(name, text)


def test_a_site_with_a_fault_fails_and_so_does_none(tmp_path, capsys):
    assert main(str(tmp_path)) == 2
    (tmp_path / "index.html").write_text('<script src="https://cdn.example/x.js"></script>')
    assert main(str(tmp_path)) == 1
    assert "index.html loads https://cdn.example/x.js" in capsys.readouterr().out
    (tmp_path / "index.html").write_text("<p>Hello</p>")
    assert main(str(tmp_path)) == 0


def test_every_page_of_docs_is_in_the_navigation():
    named = set(re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert docs <= named


def test_links_between_files_of_the_repository_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/*/README.md")]
    broken = []
    for page in [*pages, *ROOT.glob("examples/*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)", text):
            if not (page.parent / link).exists():
                broken.append(f"{page.relative_to(ROOT)} links to {link}")
    assert not broken


@pytest.mark.parametrize(
    "page", [*ROOT.glob("docs/api/*.md"), ROOT / "docs/equations.md"], ids=lambda page: page.stem
)
def test_what_a_page_documents_is_there(page):
    missing = []
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        if "integrations" not in name and not hasattr(import_module(module), attribute):
            missing.append(f"{page.name} documents {name}, which is not there")
    assert not missing
