"""The run that ships with the package, `load_run("vae_digits")`: trained and exported anew.

    python -m scripts.shipped_run

A smaller network than the experiment has keeps it below 300 kB; half the weight of the KL makes its codes say more.
Commit what it writes.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from discrete_latents.config.command_parser import CommandParser
from discrete_latents.runs.shared import SHIPPED

NAME = "vae_digits"
WORDS = [f"experiment={NAME}", "model.network.hidden=[96]", "beta.start=0.5"]


def main() -> None:
    CommandParser(__doc__).parse_args()
    from discrete_latents import train
    from discrete_latents.export.run_export import export_run

    with TemporaryDirectory() as folder:
        run = train([*WORDS, f"hydra.run.dir={folder}/run"])
        export_run(run, Path(folder, NAME))
        shutil.rmtree(SHIPPED / NAME, ignore_errors=True)
        shutil.copytree(Path(folder, NAME), SHIPPED / NAME)
    for path in sorted((SHIPPED / NAME).rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:8,} {path.relative_to(SHIPPED)}")


if __name__ == "__main__":
    main()
