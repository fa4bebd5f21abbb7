"""Copies the figures of results/ to the pages that show them."""

from pathlib import Path

import mkdocs_gen_files

for figure in sorted((Path(__file__).parents[2] / "results").glob("*.png")):
    with mkdocs_gen_files.open(f"results/{figure.name}", "wb") as file:
        file.write(figure.read_bytes())
