"""The parts of the event benchmark: one module each, `rows(quick)` yields its lines."""
