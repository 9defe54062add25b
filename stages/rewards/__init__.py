"""Rewards for reinforcement learning: what executing a completion's SQL shows, as a reward function of TRL."""
