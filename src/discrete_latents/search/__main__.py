"""`python -m discrete_latents.search`: the same as `discrete-latents-search`."""

from discrete_latents.search.command import search_main

if __name__ == "__main__":
    search_main()
