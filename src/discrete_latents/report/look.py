"""What all reports look like."""

from pathlib import Path

LOOK = Path(__file__).with_name("look.css").read_text(encoding="utf-8")
