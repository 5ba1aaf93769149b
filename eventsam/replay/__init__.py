"""A failing step computed again on one CPU: from its own weights, batch and random state, and looked at closely."""
