"""Loads language models, renders chat templates, and says what a prompt and a completion are."""
