"""Take the picture of a trace's page for the README; needs Debian's chromium.

python scripts/page_picture.py          # traces the sample problem of the embedded model
"""

import argparse
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from flowtracer import load_trace, trace
from flowtracer.cli.trace_input import SAMPLE_PROBLEM
from flowtracer.models import load
from flowtracer.render import page_html
from flowtracer.tasks.known import grade_known
from flowtracer.tracing.data import Trace

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "page.png"
# Selects the strongest hub, as a click does, and opens the layers.
SHOWN = """<script>
document.querySelector(".tv-layers").open = true;
document.querySelector(".tv-hubs .tv-go").click();
scrollTo(0, 0);
</script>"""


def sample() -> Trace:
    """The sample problem, solved by the embedded model."""
    loaded = load("embedded", dtype="float32")
    made = trace(loaded.model, loaded.tokenizer, SAMPLE_PROBLEM, model_name="embedded")
    return replace(made, correct=grade_known(SAMPLE_PROBLEM, made.response, made.answer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", type=Path, nargs="?", help="a trace.json in place of the sample")
    parser.add_argument("--size", default="1100,760", help="width and height in pixels")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    made = load_trace(options.trace) if options.trace else sample()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(page_html(made).replace("</body>", f"{SHOWN}</body>"), encoding="utf-8")
        subprocess.run(
            [
                "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-background-networking", f"--user-data-dir={folder}/profile",
                "--force-prefers-reduced-motion", f"--window-size={options.size}",
                "--virtual-time-budget=2000", f"--screenshot={options.out.resolve()}", page.as_uri(),
            ],
            check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
