"""Layers, backends and optimizers with one fault each, as found in published frameworks."""
