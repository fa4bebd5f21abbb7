"""Writes the photographs of `data=patches` from scikit-learn's two sample pictures, at half of their size.

    python -m scripts.photographs --output src/discrete_latents/data/photographs.npz

Needs scikit-learn and Pillow.
"""

from pathlib import Path

from discrete_latents.config.command_parser import CommandParser


def main() -> None:
    parser = CommandParser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_image

    pictures = {name: Image.fromarray(load_sample_image(f"{name}.jpg")) for name in ("china", "flower")}
    halved = {name: np.asarray(each.reduce(2)) for name, each in pictures.items()}
    np.savez_compressed(arguments.output, china=halved["china"], flower=halved["flower"])


if __name__ == "__main__":
    main()
