"""The U-Net, and the way from an image to probabilities. Knows neither HTTP nor data sets."""
