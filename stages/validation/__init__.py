"""Holds tables to their Great Expectations suites."""
