"""Tasks: a model, its objective and its metrics, one module each."""
