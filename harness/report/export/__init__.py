"""A study for elsewhere: CSV, LaTeX, Markdown, README."""
