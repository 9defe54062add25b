"""The demo corpus: databases and questions generated from `domains/*.yaml` and `kinds.yaml` (see README.md)."""
