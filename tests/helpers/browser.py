"""Pages in headless Chromium, where it is installed."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.common.browser import BROWSER

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome to open the report in: apt install chromium"
)


def browse(page: Path, *options: str) -> str:
    """What headless Chromium prints."""
    own = ["--headless", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000", "--no-first-run"]
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [str(BROWSER), *own, *root, f"--user-data-dir={page.parent / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measured(page: str, script: str) -> str:
    """A page without its security policy, which runs a script when it is loaded."""
    added = f'<script>addEventListener("load", () => {{{script}}})</script></body>'
    return re.sub("<meta http-equiv[^>]*>", "", page).replace("</body>", added)
