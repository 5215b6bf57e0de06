"""From the scores of an evaluation to its metrics."""
