"""Rows made regular and taken apart into settings."""
