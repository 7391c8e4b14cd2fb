"""Batch tagging: archives of articles to files of predictions. Nothing is lost, and a job that was
stopped goes on.
"""
