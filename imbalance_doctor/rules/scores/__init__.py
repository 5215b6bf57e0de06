"""Faults of the scores themselves."""
