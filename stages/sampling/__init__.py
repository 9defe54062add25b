"""Samples completions from a model, here or at an endpoint."""
