"""Keeps results of executed queries and sampled completions under a hash of all that they depend on."""
