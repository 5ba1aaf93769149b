"""Recordings made visible: windows as pictures, strips and videos of them, and event rates over time."""
