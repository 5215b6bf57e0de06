"""Losses that do not come down."""
