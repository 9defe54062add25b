"""Reads question corpora in the layouts their authors ship, and generates the demo corpus."""
