"""Estimators that are one differentiable draw."""
