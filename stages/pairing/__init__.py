"""Excludes questions, splits candidates into chosen and rejected, orders the rejected, and draws the pairs."""
