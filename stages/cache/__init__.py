"""The results of executed queries, kept by content, and the identity of the database files they came from."""
