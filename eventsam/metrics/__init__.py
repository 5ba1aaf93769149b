"""Reported numbers: mergeable over workers."""
