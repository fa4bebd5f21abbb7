"""Every estimator on the same model, data and budget."""
