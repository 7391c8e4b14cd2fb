"""Scores: what a bundle is asked on any file or development split, and how answers are counted."""
