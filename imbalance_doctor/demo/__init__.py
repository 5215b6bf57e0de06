"""Two planted faults in real training, diagnosed, treated and cured."""
