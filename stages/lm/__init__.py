"""Language models: sampling, training, loading."""
