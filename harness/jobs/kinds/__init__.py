"""The kinds of cells: what each does and records."""
