"""The time of a step of every estimator over that of gumbel_softmax, as `compare_estimators.py` takes it, untrained.

python benchmark_estimators.py PATH --data DATA     # JSON goes to PATH; benchmark.py starts it
"""

import argparse
import json
from pathlib import Path

from compare_estimators import ROOT, cells, step_times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--latents", nargs="*", help="all where none is named")
    parser.add_argument("--repeats", type=int, default=50, help="timed steps of each")
    arguments = parser.parse_args()
    names = sorted(path.stem for path in (ROOT / "configs" / "latent").glob("*.yaml"))
    how = {"experiment": "vae_mnist", "epochs": 1, "seed": 0, "overrides": [f"paths.data_dir={arguments.data}"]}
    times = step_times(cells(arguments.latents or names), argparse.Namespace(repeats=arguments.repeats, **how))
    rows: dict[str, dict[str, float]] = {}
    for (model, latent), (_, ratio) in times.items():
        rows.setdefault(latent, {})[model] = ratio
    arguments.path.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
