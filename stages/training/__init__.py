"""Trains models with TRL: data order, checkpoints, LoRA, objectives, model folders."""
