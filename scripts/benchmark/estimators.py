"""The time of a step of every estimator relative to gumbel_softmax, by the model and clock of compare_estimators.

The benchmark starts it: python -m scripts.benchmark.estimators PATH SETTINGS. SETTINGS is JSON: `data`, `latents` and
`repeats`. The result goes to PATH as JSON.
"""

import json
import sys
from pathlib import Path

from scripts.compare_estimators.comparison import Budget, pairs
from scripts.compare_estimators.step_times import step_times


def main() -> None:
    path, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    budget = Budget("vae_mnist", epochs=1, seed=0, overrides=[f"paths.data_dir={settings['data']}"])
    rows: dict[str, dict[str, float]] = {}
    for (model, latent), (_, ratio) in step_times(pairs(settings["latents"]), budget, settings["repeats"]).items():
        rows.setdefault(latent, {})[model] = ratio
    path.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
