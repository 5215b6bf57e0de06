"""Faults of losses that predict probabilities."""
