"""The scripts run, and write what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_class_scaling_measures_every_number_of_classes(tmp_path: Path):
    command = [sys.executable, str(ROOT / "scripts" / "class_scaling.py"), "--classes", "2", "30"]
    small = ["--batch-size", "20", "--repeats", "3", "--output", str(tmp_path)]
    done = subprocess.run([*command, *small], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    few, many = json.loads((tmp_path / "class_scaling.json").read_text())["rows"]
    assert (few["classes"], many["classes"]) == (2, 30)
    assert many["ratio"] > few["ratio"]  # thirty decodings against one: no matter how busy the machine
    assert "| 30 |" in (tmp_path / "class_scaling.md").read_text()
    assert (tmp_path / "class_scaling.png").stat().st_size > 5000
