"""What two models answer to the same questions: the parts of `stages.compare`."""
