"""A training by several processes, over torch.distributed."""
