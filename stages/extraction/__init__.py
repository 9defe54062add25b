"""Extracts the SQL from what a model answered."""
