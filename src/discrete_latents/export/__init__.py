"""Trained models for others: weights and configuration in a folder, and ONNX files for other programs."""
