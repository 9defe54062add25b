"""One module for each dataset: its columns, its key and what its rows mean."""
