"""Images as the input of a net, and the images that a net is for: its model card, and those of its training."""
