"""Faults of the pool that a loss ranks, and of its queue."""
