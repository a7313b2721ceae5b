"""Measurements: each takes a subject and yields facts, which are rows without their origin."""
