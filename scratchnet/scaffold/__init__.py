"""Scaffolds of plugins."""
