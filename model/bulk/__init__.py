"""Many images, or volumes larger than memory: jobs, and the pipelines that do them here or on a Ray cluster."""
