"""Train models with discrete latent variables, and swap how their gradient is estimated."""
