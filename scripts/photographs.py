"""Writes the photographs of `data=patches` from scikit-learn's two sample pictures, at half of their size.

python -m scripts.photographs
"""

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from discrete_latents.data.sources import PHOTOGRAPHS


def main() -> None:
    halved = {}
    for name in ("china", "flower"):
        picture = Image.fromarray(load_sample_image(f"{name}.jpg"))
        halved[name] = np.asarray(picture.reduce(2))
    np.savez_compressed(PHOTOGRAPHS, **halved)


if __name__ == "__main__":
    main()
