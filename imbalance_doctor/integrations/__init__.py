"""The monitor inside training frameworks; each module needs the extra of its name."""
