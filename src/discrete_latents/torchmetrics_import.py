"""The import of torchmetrics, which Lightning needs, without that of scipy.signal, a fifth of the time of a start."""

import sys
from types import ModuleType


def import_torchmetrics() -> None:
    """Imports torchmetrics while an empty module stands for scipy.signal, which it loads for an old name alone: it adds
    `hamming` for the package SRMRpy. Afterwards, `import scipy.signal` loads the real module.

    Does nothing where one of the two is loaded already.
    """
    if {"torchmetrics", "scipy.signal"} & sys.modules.keys():
        return
    placeholder = ModuleType("scipy.signal")
    vars(placeholder)["hamming"] = None
    sys.modules["scipy.signal"] = placeholder
    try:
        import torchmetrics  # noqa: F401
    finally:
        del sys.modules["scipy.signal"]
