"""Runnable experiments: one module, one function, one recipe."""
