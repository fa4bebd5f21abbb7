"""`python -m discrete_latents.search`: the same as `discrete-latents-search`."""

from discrete_latents.search.command import main

if __name__ == "__main__":
    main()
