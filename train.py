"""Train a model: `python train.py experiment=vae_mnist`; `python train.py --help` lists everything."""

from discrete_latents.cli import train_main

if __name__ == "__main__":
    train_main()
