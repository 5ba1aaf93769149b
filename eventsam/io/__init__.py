"""Recordings from files: one module per format."""
