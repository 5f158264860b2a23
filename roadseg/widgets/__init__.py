"""Panels to play with in a notebook, each with a figure that takes its place without a kernel; the U-Net as a diagram.

threshold               move the threshold: mask, errors and scores (notebook 03, question 6)
epochs                  move through the epochs of a training run (notebook 02)
transposed_convolution  copies of the kernel, added up (notebooks 02 and 03, question 7)
unet_levels             the feature maps of each level of a U-Net (notebook 02)
unet_diagram            the layers of a network, drawn as a U (notebook 02)
own_photo               upload a photo of your own (notebook 04)
"""

from importlib import import_module

_HOME = {
    "threshold": "predictions",
    "epochs": "predictions",
    "transposed_convolution": "convolution",
    "unet_levels": "feature_maps",
    "unet_diagram": "diagram",
    "own_photo": "upload",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Import a widget on first use: some load TensorFlow."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
