"""OpenMP's wait policy in the processes that run a model."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import importlib, os, sys
importlib.import_module(sys.argv[1])
print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
"""


def policy_after_import(module: str, **variables: str) -> str:
    """The wait policy, and whether torch is loaded, once a fresh process has imported a module."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | variables
    return subprocess.check_output([sys.executable, "-c", SCRIPT, module], env=environment, text=True).strip()


@pytest.mark.parametrize("stage", ["train_sft", "train_dpo", "candidates", "evaluate"])
def test_a_stage_that_runs_a_model_makes_openmp_wait_passively_before_torch_is_loaded(stage: str) -> None:
    assert policy_after_import(f"stages.{stage}") == "PASSIVE False"


def test_a_users_wait_policy_is_kept() -> None:
    assert policy_after_import("stages.lm", OMP_WAIT_POLICY="ACTIVE") == "ACTIVE False"
