"""Search for hyper-parameters: `python scripts/search.py experiment=vae_digits search=lr_temperature search.trials=8`;
`python scripts/search.py --help` says more."""

import sys

try:
    from discrete_latents.search.command import main
except ModuleNotFoundError as error:
    if error.name not in ("optuna", "filelock"):
        raise
    sys.exit(f"error: a search needs {error.name}: pip install -e '.[sweep]'")

if __name__ == "__main__":
    main()
