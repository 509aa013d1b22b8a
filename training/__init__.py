"""The training job: data, recipe, loop, scores. Never imports the service."""
