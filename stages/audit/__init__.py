"""Finds problems of gold queries: wrong results by accident of order or type, unused conditions, odd questions."""
