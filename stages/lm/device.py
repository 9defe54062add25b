"""The device that a model runs on."""


def device_identity() -> list[object]:
    """What the rounding of sums depends on: the GPU, or the CPU's instruction set and the number of threads."""
    import torch

    if torch.cuda.is_available():
        return [torch.cuda.get_device_name()]
    return [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
