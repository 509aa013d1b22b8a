"""`python -m model.predict`: results of many images, or of volumes larger than memory, without a server."""
