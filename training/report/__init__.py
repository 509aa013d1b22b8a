"""The report of a training: one HTML file with findings, charts and pictures."""
