"""Events to dense images: one module per representation."""
