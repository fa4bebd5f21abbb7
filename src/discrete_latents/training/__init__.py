"""From a configuration to a trained, tested model."""
