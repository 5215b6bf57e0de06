"""What validation or the labels show."""
