"""BioImage.IO packages: the nets of other programs, read from a .zip with their description."""
