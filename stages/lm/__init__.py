"""Loads language models, renders chat templates, and defines the prompts and completions that engines exchange."""

import logging
import os

# OpenMP threads spin while they wait, which slows PyTorch down 2 to 4 times beside another busy process. OpenMP reads
# this variable when torch is first imported: every stage that runs a model imports this package before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Stages show how far they are and how they end. These libraries read the variables when they are first imported: no
# bars of passes over a dataset, no warnings. DeepSpeed says on every machine without a GPU that it found none.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())
