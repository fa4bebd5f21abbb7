"""Draws docs/report.png: the upper part of a run's report, in headless Chromium.

    python -m scripts.documentation.screenshot logs/vae_digits/runs/STAMP

The run's folder is shown as it is named here.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from scripts.common.browser import BROWSER
from scripts.common.paths import ROOT

WIDTH, HEIGHT = 1180, 880


def main() -> None:
    folder = Path(sys.argv[1])
    shown = Path("logs", *folder.absolute().parts[-3:])
    page = re.sub(r"(?<=<code>)[^<]*", str(shown), (folder / "report.html").read_text(), count=1)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "report.html").write_text(page)
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=5000"]
        size = [f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={scratch}/profile"]
        picture = f"--screenshot={scratch}/report.png"
        subprocess.run([str(BROWSER), *options, *size, picture, f"file://{scratch}/report.html"], check=True)
        with Image.open(f"{scratch}/report.png") as drawn:
            drawn.convert("RGB").save(ROOT / "docs" / "report.png", optimize=True)


if __name__ == "__main__":
    main()
