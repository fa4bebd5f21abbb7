"""`python -m discrete_latents.summary`: the same as `discrete-latents-summarize`."""

from discrete_latents.summary.command import summarize_main

if __name__ == "__main__":
    summarize_main()
