"""Search for hyper-parameters with Optuna. Needs the extra `sweep`; nothing else of the package imports this."""
