"""Sweep spaces: one module each."""
