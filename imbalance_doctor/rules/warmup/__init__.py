"""Faults of a warmup, its schedule and its end."""
