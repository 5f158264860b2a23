"""Weights for photos and films."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A file of the U-Net's weights, drawn at random."""
    from roadseg import models

    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    models.unet().save_weights(path)
    return path
