"""Take the picture of a run's page of rollouts for the README; needs Debian's chromium.

python scripts/rollouts_picture.py runs/countdown/rollouts.html --step 11
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "rollouts.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--size", default="1100,720", help="width and height in pixels")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-background-networking", f"--user-data-dir={profile}",
                f"--window-size={options.size}", f"--screenshot={options.out.resolve()}",
                f"{options.page.resolve().as_uri()}#step={options.step}",
            ],
            check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
