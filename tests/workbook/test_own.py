"""The student's steps out of a saved notebook 01."""

import pytest
from students import cell_of, worked

from roadseg import runs, training, workbook
from roadseg.workbook import own

VAL_STEP = """%%time
def val_step(model, image, mask, *, loss_fn, running_loss, running_accuracy):
    probability = model(image, training=False)
    running_loss.update_state(loss_fn(mask, probability))
    running_accuracy.update_state(mask, probability)
    return same(probability)
"""


@pytest.fixture
def save(tmp_path, monkeypatch):
    """A function that saves a notebook 01 here whose cells hold the given code, below one with a helper."""
    monkeypatch.chdir(tmp_path)

    def save(**sources):
        notebook = workbook.blank(worked("01_simple_model"))
        for name, source in sources.items():
            cell_of(notebook, name)["source"] = source
        helper = {"cell_type": "code", "id": "helper", "metadata": {}, "source": "same = tf.identity"}
        notebook["cells"].insert(1, helper)
        workbook.write_notebook(tmp_path / own.NOTEBOOK, notebook)

    return save


@pytest.mark.slow
def test_right_steps_are_the_students_and_have_a_source(save, capsys):
    train_step = "".join(cell_of(worked("01_simple_model"), "train_step")["source"])
    save(train_step=train_step, val_step=VAL_STEP)
    steps = own.own_steps()
    assert steps["step"] is not training.train_step and steps["validation_step"] is not training.val_step
    assert len(runs.source_digest(*steps.values())) == 16
    assert capsys.readouterr().out == "train_step: your own\nval_step: your own\n"


@pytest.mark.slow
@pytest.mark.parametrize("source", [None, "def train_step(:", "1 / 0"])
def test_where_they_are_not_right_or_not_there_the_reference_is_used(save, source, capsys):
    if source:
        save(train_step=source)
    assert own.own_steps() == {"step": training.train_step, "validation_step": training.val_step}
    assert capsys.readouterr().out.count("the reference solution") == 2
