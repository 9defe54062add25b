"""Extracts the SQL from completions."""
