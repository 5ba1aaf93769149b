"""The only package that runs Ray."""
