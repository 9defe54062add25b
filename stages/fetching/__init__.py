"""Downloads, verifies, unpacks and records the files of public corpora."""
