"""Reads the schema, the first rows and the column descriptions of a SQLite database."""
