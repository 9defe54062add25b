"""What a search of preference settings is made of: the parts of `stages.search`."""
