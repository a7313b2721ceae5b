"""Timing that can rank: interleaved rounds, an A/A floor, a gate."""
