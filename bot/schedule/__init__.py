"""Work due later: one table of timers, each occurrence once, and the clock thread that claims them."""
