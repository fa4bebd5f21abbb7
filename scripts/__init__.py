"""What reproduces and measures the project: `python -m scripts.NAME --help`, from the root of a checkout."""
