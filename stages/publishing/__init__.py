"""Datasets and models for the Hub: what is published, the cards that describe it, and the push."""
