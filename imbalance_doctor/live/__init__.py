"""While it trains: who listens to the losses, keeps the log and speaks up."""
