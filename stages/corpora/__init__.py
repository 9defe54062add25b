"""Reads question corpora in the layouts of their authors, and generates the demo corpus."""
