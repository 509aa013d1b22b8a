"""What a U-Net is, and how an image becomes probabilities. Knows no HTTP and no data set."""
