"""Estimators that weigh ∇ log q(z) by a learning signal, and what they share."""
