"""Notebooks as files: blank copies, progress, questions, reference answers."""
