"""From a study to its cells, and where they run."""
