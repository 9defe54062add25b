"""What differs between two versions of the data: the parts of `stages.diff`."""
