"""What scores and labels alone say."""
