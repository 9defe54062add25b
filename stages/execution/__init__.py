"""Executes SQL in a sandbox and compares results: from a query to its verdict."""
