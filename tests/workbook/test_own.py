"""The student's steps out of a saved notebook 01."""

import pytest

from roadseg import runs, training, workbook
from roadseg.workbook import own


@pytest.fixture
def book(tmp_path):
    """A function that saves a notebook 01 whose two step cells hold the given code."""

    def save(**sources):
        notebook = workbook.blank(workbook.read_notebook(workbook.worked_folder() / own.NOTEBOOK))
        for cell in notebook["cells"]:
            cell["source"] = sources.get(cell["id"], cell["source"])
        helper = {"cell_type": "code", "id": "helper", "metadata": {}, "source": "same = tf.identity"}
        notebook["cells"].insert(1, helper)
        workbook.write_notebook(tmp_path / own.NOTEBOOK, notebook)
        return tmp_path

    return save


VAL_STEP = """
def val_step(model, image, mask, *, loss_fn, running_loss, running_accuracy):
    probability = model(image, training=False)
    running_loss.update_state(loss_fn(mask, probability))
    running_accuracy.update_state(mask, probability)
    return same(probability)
"""


@pytest.mark.slow
def test_right_steps_are_the_students_and_have_a_source(book, capsys):
    worked = {
        cell["id"]: "".join(cell["source"])
        for cell in workbook.read_notebook(workbook.worked_folder() / own.NOTEBOOK)["cells"]
    }
    steps = own.own_steps(book(train_step=worked["train_step"], val_step=f"%%time\n{VAL_STEP}"))
    assert steps["step"] is not training.train_step and steps["validation_step"] is not training.val_step
    assert len(runs.source_digest(*steps.values())) == 16
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("source", ["def train_step(:", "1 / 0", "train_step = 3"])
def test_where_they_are_not_right_or_not_there_the_reference_is_used(book, tmp_path, source):
    for folder in (tmp_path / "nowhere", book(train_step=source)):
        steps = own.own_steps(folder)
        assert steps == {"step": training.train_step, "validation_step": training.val_step}
