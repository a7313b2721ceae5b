"""The apparatus: everything that is held fixed while one attention is swapped for another."""
