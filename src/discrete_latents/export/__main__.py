"""`python -m discrete_latents.export`: the same as `discrete-latents-export`."""

from discrete_latents.export.command import export_main

if __name__ == "__main__":
    export_main()
