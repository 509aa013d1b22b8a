"""Compares the training job with other public trainers on many data sets; `python -m benchmarks.datasets`."""
