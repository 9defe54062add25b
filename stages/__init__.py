"""SENSE as a versioned data product: one module per stage, run as `python -m stages.<stage>`."""
