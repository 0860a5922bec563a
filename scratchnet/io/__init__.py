"""Files: written atomically; tensors and images."""
