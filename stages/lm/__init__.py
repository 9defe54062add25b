"""Loads language models, renders chat templates, and defines the prompts and completions that engines exchange."""

import os

# OpenMP threads spin while they wait, which slows PyTorch down 2 to 4 times beside another busy process. OpenMP reads
# this variable when torch is first imported: every stage that runs a model imports this package before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
