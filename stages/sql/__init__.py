"""Running SQL safely, comparing results, and figures over verdicts."""
