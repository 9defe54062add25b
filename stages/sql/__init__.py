"""Splits SQL into statements and tokens, and rates its hardness; executes nothing."""
