"""Forms that other programs read, or that are pasted somewhere."""
