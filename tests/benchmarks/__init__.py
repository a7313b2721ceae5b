"""Speed against plain attention, as pytest-benchmark's: what is timed, how, and what came out.

`pytest tests/benchmarks --benchmark-only` times everything and prints the ratios; `--benchmark-json FILE` keeps them
for `python -m harness.regress`. Without that flag each work is done once on a tiny shape, as a smoke test.
"""
