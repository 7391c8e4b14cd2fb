"""Encoders: where they come from, made small, adapted to news, and back out of a bundle."""
