"""Finds problems of gold queries and of their questions: results by chance, duplicates, leakage."""
