"""`POST /labels`: corrected labels with their images, saved as training data."""
