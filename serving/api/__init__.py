"""The edge of the service: bytes to articles, predictions to bytes, refusals in one envelope.

No message quotes a request: a refusal names the field, never its value.
"""
