"""The datasets, one a file."""
