"""Engines that sample completions: a model on this machine (transformers, vLLM) or behind an endpoint (openai)."""
