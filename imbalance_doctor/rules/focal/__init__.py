"""Faults of focal losses."""
