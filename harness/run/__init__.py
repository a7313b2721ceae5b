"""The main program: `python -m harness.run` trains, measures, records and renders a comparison."""
