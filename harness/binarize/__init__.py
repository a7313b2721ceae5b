"""Trained priors made masks: `python -m harness.binarize results/NAME`."""
