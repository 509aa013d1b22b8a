"""The images that a net is for: its model card, and how typical an image is of those that it was trained on."""
