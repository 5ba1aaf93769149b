"""Fusions of RGB and event tokens: one module per design."""
