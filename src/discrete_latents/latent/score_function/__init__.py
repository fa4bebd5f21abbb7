"""Estimators that weight ∇ log q(z) by a learning signal, and their shared parts."""
