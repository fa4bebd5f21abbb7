"""Estimators that use one differentiable draw."""
