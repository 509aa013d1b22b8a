"""The training loop: steps, checks, checkpoints, and the time and memory they take."""
