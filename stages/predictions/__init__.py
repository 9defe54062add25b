"""Reads files of gold queries and of predictions in the formats of their authors."""
