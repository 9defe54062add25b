"""GRPO: samples of the model in training, TRL's trainer around them, and what became of the verdicts."""
