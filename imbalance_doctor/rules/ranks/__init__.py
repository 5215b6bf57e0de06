"""Processes that should agree and do not."""
