"""Excludes questions, splits candidates into chosen and rejected, and draws the pairs."""
