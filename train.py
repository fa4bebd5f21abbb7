"""Train a model: `python train.py experiment=vae_mnist`; `python train.py --help` lists everything."""

from discrete_latents.start import start_train

if __name__ == "__main__":
    start_train()
