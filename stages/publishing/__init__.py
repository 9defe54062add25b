"""Datasets and models for the Hub: what is published, the cards that tell of it, and the push."""
