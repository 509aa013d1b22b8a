"""Images and labels: reading, checking, holding out, augmenting and batching."""
