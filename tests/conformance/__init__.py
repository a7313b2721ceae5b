"""Proofs that the variants are what the papers say: loops over pairs, and code that nobody here wrote."""
