"""On PYTHONPATH: lets accelerate shard a model over CPUs.

accelerate has FSDP and DeepSpeed for accelerators alone; on CPUs it would silently train whole copies. PyTorch's FSDP2
and DeepSpeed's ZeRO-3 themselves run there, over gloo. So accelerate is told of GPUs, and ACCELERATE_TORCH_DEVICE=cpu
puts the model where it should be.
"""

import os
from functools import partialmethod

if "LOCAL_RANK" in os.environ:
    from accelerate.state import AcceleratorState, DistributedType, PartialState

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    for state in (PartialState, AcceleratorState):
        state.__init__ = partialmethod(
            lambda self, made, *args, **given: made(self, *args, **given | {"cpu": False}), state.__init__
        )
