"""What an article means: documents, spans, labels, Arabic text, the seed article and readers of
public corpora.
"""
