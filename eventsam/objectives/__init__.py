"""Losses: predictions and targets to a differentiable scalar."""
