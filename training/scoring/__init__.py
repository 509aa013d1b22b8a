"""Scores, the choice of the score that decides a training, and the choices made by it."""
