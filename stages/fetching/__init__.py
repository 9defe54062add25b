"""Downloads and verifies the files of public corpora."""
