"""From a loss's forward to a record."""
