"""`python -m training.run`: options, the recipe they plan, and the job that trains."""
