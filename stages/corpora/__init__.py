"""Readers of question corpora, one per source."""
