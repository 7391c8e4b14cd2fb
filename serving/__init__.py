"""From a text to an answer: windows, runtime, decoding, bundle, Tagger, service, page and the
default bundle.
"""
