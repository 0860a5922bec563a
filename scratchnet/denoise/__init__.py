"""Denoising: whole images by tiles, metrics and evaluation."""
