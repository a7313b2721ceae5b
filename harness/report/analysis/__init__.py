"""What the rows say, as numbers with intervals."""
