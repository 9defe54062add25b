"""SQLite databases: where they lie, whether they can be used, their schema, first rows and column descriptions."""
