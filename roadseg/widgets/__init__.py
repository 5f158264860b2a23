"""Panels to play with in a notebook, each with a figure that takes its place without a kernel; the U-Net as a diagram.

threshold               move the threshold: mask, errors and scores (notebook 03, question 6)
epochs                  move through the epochs of a training run (notebook 02)
transposed_convolution  copies of the kernel, added up (notebooks 02 and 03, question 7)
unet_levels             the feature maps of each level of a U-Net (notebook 02)
unet_diagram            the layers of a network, drawn as a U (notebook 02)
own_photo               upload a photo of your own (notebook 04)
"""

from roadseg.widgets.convolution import transposed_convolution
from roadseg.widgets.diagram import unet_diagram
from roadseg.widgets.feature_maps import unet_levels
from roadseg.widgets.predictions import epochs, threshold
from roadseg.widgets.upload import own_photo

__all__ = ["epochs", "own_photo", "threshold", "transposed_convolution", "unet_diagram", "unet_levels"]
