"""Check a built site: nothing that a browser would load comes from another address.

    python scripts/site_check.py build/site

Links that a reader may follow are allowed; scripts, styles, images, frames, fonts and forms are not.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

OUTSIDE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
LOADED_BY_CSS = re.compile(r"""(?:@import\s+|url\(\s*)["']?([^"')\s]+)""", re.IGNORECASE)
LOADED_BY_SCRIPT = re.compile(
    r"https?://[\w.]*(?:unpkg|jsdelivr|cdnjs|googleapis|gstatic|polyfill)[\w./-]*"
)
LOADING_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "modulepreload",
    "manifest",
    "preconnect",
}
FOLLOWED = {"a", "area"}  # whose href is followed, not loaded


class Loads(HTMLParser):
    """Addresses that a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.style = tag == "style"
        loaded = ("src", "poster", "data", "action", "formaction", "background")
        self.addresses += [attributes[name] for name in loaded if name in attributes]
        candidates = attributes.get("srcset", "").split(", ")
        self.addresses += [candidate.split()[0] for candidate in candidates if candidate.split()]
        if tag not in FOLLOWED and "href" in attributes:
            kinds = set(attributes.get("rel", "stylesheet").lower().split())
            if tag != "link" or kinds & LOADING_LINKS:
                self.addresses.append(attributes["href"])
        self.addresses += LOADED_BY_CSS.findall(attributes.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.style:
            self.addresses += LOADED_BY_CSS.findall(data)


def loads(name: str, text: str) -> list[str]:
    """Outside addresses that a file named `name` makes a browser load."""
    if name.endswith((".html", ".svg")):
        page = Loads()
        page.feed(text)
        addresses = page.addresses
    elif name.endswith(".css"):
        addresses = LOADED_BY_CSS.findall(text)
    else:
        return LOADED_BY_SCRIPT.findall(text)
    return [address for address in addresses if OUTSIDE.match(address)]


def main(folder: str) -> int:
    """Print every outside address and return the exit status."""
    paths = [
        path for path in Path(folder).rglob("*") if path.suffix in {".html", ".svg", ".css", ".js"}
    ]
    if not paths:
        print(f"no pages in {folder}: build the site first, with `make docs`")
        return 2
    faults = [
        f"{path} loads {address}"
        for path in sorted(paths)
        for address in loads(path.name, path.read_text(encoding="utf-8"))
    ]
    print("\n".join(faults) or f"{len(paths)} files load nothing from another address")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
