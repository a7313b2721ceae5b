"""The rules that every variant keeps to: `python -m harness.check my_variant.py`."""
