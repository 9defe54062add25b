"""Runs Great Expectations suites."""
