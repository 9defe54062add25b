"""Computes figures (EX, pass@k, VES, Soft F1, test-suite accuracy) from verdicts."""
