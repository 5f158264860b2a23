"""Panels to play with, each with a figure below it, and the U-Net as a diagram."""
