"""TensorFlow is loaded with oneDNN on every kind of processor, unless somebody has decided otherwise."""

import os
import subprocess
import sys

import pytest

SHOW = "import os, roadseg.backend; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"


@pytest.mark.slow
@pytest.mark.parametrize(("own", "expected"), [(None, "1"), ("0", "0")])
def test_a_fresh_process_has_onednn_unless_its_user_says_otherwise(own, expected):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {} if own is None else {"TF_ENABLE_ONEDNN_OPTS": own}
    done = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
