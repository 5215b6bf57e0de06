"""Faults of partial AUC at a budget."""
