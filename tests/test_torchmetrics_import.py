"""What a start leaves out: scipy.signal, which torchmetrics would load for one name."""

import os
import subprocess
import sys
from pathlib import Path

from discrete_latents.torchmetrics_import import import_torchmetrics

ROOT = Path(__file__).parents[1]
SCIPY = "from importlib import import_module\ndef __getattr__(name):\n    return import_module(f'scipy.{name}')\n"
"""Its modules are loaded when they are asked for, as in scipy itself."""
TORCHMETRICS = """
import scipy.signal
if not hasattr(scipy.signal, "hamming"):
    scipy.signal.hamming = scipy.signal.windows.hamming
"""
"""Of `torchmetrics/__init__.py`."""


def test_scipys_signals_are_loaded_by_those_who_need_them(tmp_path):
    files = {"scipy/__init__": SCIPY, "scipy/signal": "hann = 3", "torchmetrics": TORCHMETRICS}
    (tmp_path / "scipy").mkdir()
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    code = (
        "import sys; from discrete_latents.torchmetrics_import import import_torchmetrics; import_torchmetrics()\n"
        "print(sorted({'torchmetrics', 'scipy.signal'} & sys.modules.keys()))\n"
        "import scipy.signal; print(scipy.signal.hann, hasattr(scipy.signal, 'hamming'))"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "['torchmetrics']\n3 False\n", done.stderr


def test_what_is_loaded_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.signal", sys)
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    import_torchmetrics()
    assert sys.modules["scipy.signal"] is sys
    assert "torchmetrics" not in sys.modules
