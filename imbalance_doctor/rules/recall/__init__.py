"""Faults of recall at a quantile."""
