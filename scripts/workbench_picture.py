"""Take the picture of the workbench for the documentation; needs Debian's chromium and chromedriver.

python scripts/workbench_picture.py     # asks the embedded model, hides the top 10%, and regenerates
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "workbench.png"


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.browser import chromium
    from helpers.serving import Server, click, open_workbench, wait, wait_for_trace

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1200,1130", help="width and height in pixels")
    parser.add_argument("--theme", default="light", choices=["light", "dark"])
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    width, height = map(int, options.size.split(","))
    server = Server()
    try:
        with chromium(width, height, "--hide-scrollbars", "--force-prefers-reduced-motion") as page:
            screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            media = [{"name": "prefers-color-scheme", "value": options.theme}]
            page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            open_workbench(page, server)
            click(page, "#examples button")
            wait_for_trace(page)
            click(page, "#pick")
            click(page, "#control")
            wait(
                page,
                "document.querySelector('#outcome .wb-columns')?.parentNode"
                ".textContent.includes('of 5 changed')",
                60,
            )
            page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
            page.save_screenshot(str(options.out))
    finally:
        server.kill()


if __name__ == "__main__":
    main()
