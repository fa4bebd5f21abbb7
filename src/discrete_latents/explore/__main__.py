"""`python -m discrete_latents.explore`: the same as `discrete-latents-explore`."""

from discrete_latents.explore.command import explore_main

if __name__ == "__main__":
    explore_main()
