"""What compiling a training step costs and saves on this machine, as earlier runs have measured it."""

import getpass
import hashlib
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from discrete_latents.atomic_write import atomic_write

UNMEASURED = {"cpu": 40_000, "cuda": 20_000}
"""The steps, by kind of device, from which a step is compiled that was never measured: a minute for a millisecond or
two a step."""

MARGIN = 1.5
"""How many times its cost a compilation must save."""


@dataclass(frozen=True)
class Costs:
    """Seconds: of the compilation, and of a step before and after it."""

    compiling: float
    before: float
    after: float

    def pay_from(self) -> float:
        """The steps from which a compilation pays; infinite where steps become no faster."""
        saved = self.before - self.after
        return MARGIN * self.compiling / saved if saved > 0 else math.inf


def path() -> Path:
    """Beside the compiler's own cache: who deletes that deletes both."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if not folder:
        try:
            user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
        except (KeyError, OSError, ImportError):  # a user without a name
            user = ""
        folder = os.path.join(tempfile.gettempdir(), f"torchinductor_{user}")
    return Path(folder) / "discrete_latents_compile.json"


def cost_key(model: nn.Module, device: torch.device, *further: object) -> str:
    """What costs belong to: a model by its parts and shapes, the device, the versions, and `further`."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    parts = [
        *(torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability(), gpu),
        *(torch.get_num_threads(), *further),
        *(type(part).__qualname__ for part in model.modules()),
        *(f"{name} {tuple(weight.shape)} {weight.dtype}" for name, weight in model.named_parameters()),
    ]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


def stored() -> dict[str, Any]:
    try:
        content = json.loads(path().read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read(of: str) -> Costs | None:
    """The costs of a key; None where none were measured."""
    entry = stored().get(of)
    names = Costs.__dataclass_fields__
    if not (isinstance(entry, Mapping) and all(isinstance(entry.get(name), float) for name in names)):
        return None
    costs = Costs(**{name: entry[name] for name in names})
    return costs if all(math.isfinite(value) and value >= 0 for value in vars(costs).values()) else None


def write(of: str, costs: Costs) -> None:
    """Keeps the costs of a key; the least compilation, since the compiler keeps what it has made. A folder that cannot
    be written keeps nothing."""
    former = read(of)
    if former is not None:
        costs = Costs(min(costs.compiling, former.compiling), costs.before, costs.after)
    with suppress(OSError, ValueError):
        atomic_write(path(), json.dumps(stored() | {of: vars(costs)}, indent=1))
