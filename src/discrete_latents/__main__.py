"""`python -m discrete_latents train experiment=vae_mnist`; eval, search and summarize work alike."""

from discrete_latents.start import start_named

if __name__ == "__main__":
    start_named()
