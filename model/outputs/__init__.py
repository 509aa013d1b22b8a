"""What an image becomes besides probabilities: a mask, objects, or a picture, as the bytes of a file."""
