"""Reads files of gold queries and of predictions, as their authors ship them."""
