"""Answers a question about any SQLite file: the SQL of a model, its rows from the sandbox, both as text and as JSON."""
