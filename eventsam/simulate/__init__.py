"""Frames to events, meshes to frames: synthetic recordings with known geometry."""
