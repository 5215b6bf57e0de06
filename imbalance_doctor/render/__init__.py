"""Renderers: each shows a diagnosis or a run in one medium. None of them decides what is healthy."""
