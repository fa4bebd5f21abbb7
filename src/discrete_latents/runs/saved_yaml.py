"""Reads the YAML of runs and sweeps, which may be somebody else's: in little time, whatever the file holds."""

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from discrete_latents.runs.files import parsed_file

LARGEST = 200_000
"""Bytes of a file; a saved configuration has about 6,000."""
DEEPEST = 40
"""Nested mappings and lists."""
MOST = 8_000
"""Names and values of a file."""
LONGEST = 4_000
"""Characters of a value with ${…} in it."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """The content of a file, as OmegaConf reads it. Raises FileNotFoundError, and UserError for what is no such YAML:
    damaged, too large, too deep, or with aliases, by which few characters become millions of values."""

    def parse(path: Path) -> Any:
        text = path.read_text("utf-8")
        check_events(text)
        return OmegaConf.load(io.StringIO(text))

    return parsed_file(path, LARGEST, parse)


def check_events(text: str) -> None:
    """Raises ValueError for YAML that would take long to build. (OmegaConf itself never writes an alias.)"""
    depth = opened = 0
    for number, event in enumerate(yaml.parse(text, Loader=LOADER)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError("it has aliases")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or number > MOST:
            raise ValueError(f"it has more than {DEEPEST} levels or {MOST:,} values")
        if isinstance(event, yaml.ScalarEvent) and (count := event.value.count("${")):
            opened += count
            if len(event.value) > LONGEST or count > 20 or opened > 500:
                raise ValueError("it has too many or too long ${…}")
