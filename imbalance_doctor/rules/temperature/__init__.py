"""Temperatures that do not fit the scores."""
