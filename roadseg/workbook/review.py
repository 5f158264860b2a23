"""What a student sees of their own progress in a notebook: the state of all answers, and the reference answers.

Both read the notebooks' files, so they show what has been saved. The ideas that are ticked are an output of their cell:
they stay in the notebook's file, and are found there again.
"""

from __future__ import annotations

from pathlib import Path

from IPython.display import Markdown, display

from roadseg import plots
from roadseg.workbook.files import TEXT_STUB, own_folder, read_notebook, shown_data, source_of, worked_folder
from roadseg.workbook.progress import read_workbook
from roadseg.workbook.questions import rubrics, text_item

MIME = "application/vnd.roadseg.ideas+json"
# An idea that is longer than its line goes on in the next one: ipywidgets would cut it off.
WRAPPED = """<style>.roadseg-ideas .widget-checkbox { height: auto }
.roadseg-ideas .widget-label-basic { white-space: normal; line-height: 1.4; align-items: flex-start }</style>"""


def overview() -> None:
    """Show all tasks and questions as they stand in the saved notebooks: points, and whether each is done."""
    folder = own_folder()
    if folder is None:
        display(Markdown("*In your own copy, this cell lists what is done and what is open, as last saved.*"))
        return
    rows = {}
    for entry in read_workbook(folder).entries:
        kind = "" if entry.item.label.startswith("Task") else f", {entry.item.kind}"
        rows[entry.item.label + kind] = {"points": entry.item.points, "state": entry.state, "note": entry.remark}
    display(plots.table(rows, columns=("points", "state", "note")))


def compare(question: int) -> None:
    """Offer the reference answer to a question, with the expected ideas to tick off, once there is an own answer.

    Raises
    ------
    OptionError : a question that is not answered in text.
    """
    item = text_item(question)
    folder, rubric = own_folder(), rubrics().get(item.id)
    path = (folder or Path()) / f"{item.notebook}.ipynb"
    if rubric is None:
        display(Markdown("*The reference answer comes with the feedback.*"))
    elif folder is None:
        ideas = f"{len(rubric.ideas)} ideas to tick"
        display(Markdown(f"*In your own copy, this cell offers the reference answer and {ideas}.*"))
    elif not path.is_file():
        display(Markdown(f"*This cell reads your answer from `{path.name}`: that name has to stay.*"))
    else:
        _offer(item.id, path, rubric.ideas)


def reference_answer(name: str) -> str:
    """The worked notebook's answer, Markdown; a sentence where the worked notebooks are not here."""
    for cell in read_notebook(worked_folder() / f"{text_item(name).notebook}.ipynb")["cells"]:
        if cell["id"] == name and TEXT_STUB not in source_of(cell):
            return source_of(cell).removeprefix("**Answer.** ")
    return "The reference answer comes with the feedback."


def _offer(name: str, path: Path, ideas: tuple[str, ...]) -> None:
    """Show a button, which opens the reference answer and a box for each idea; what is ticked is an output below."""
    import ipywidgets

    saved = shown_data(read_notebook(path), MIME, name) or {}
    kept = saved.get("ticked", ())
    boxes = [
        ipywidgets.Checkbox(i in kept, description=idea, indent=False, layout={"width": "auto"})
        for i, idea in enumerate(ideas)
    ]
    message = ipywidgets.Label()
    button = ipywidgets.Button(description="Compare with the reference answer", layout={"width": "max-content"})
    panel = ipywidgets.VBox([button, message]).add_class("roadseg-ideas")

    def open_reference(_=None) -> None:
        entry = next(entry for entry in read_workbook(path.parent).entries if entry.item.id == name)
        if entry.done:
            reference.update(Markdown(f"**Reference.** {reference_answer(name)}"))
            message.value = "Which of these ideas does your answer hold?"
            panel.children = [message, *boxes, ipywidgets.HTML(WRAPPED)]
        else:
            state = entry.remark or entry.state
            message.value = f"First write your answer and save the notebook; as last saved: {state}."

    def bundle() -> dict:
        ticked = [i for i, box in enumerate(boxes) if box.value]
        words = f"{len(ticked)} of {len(ideas)} ideas ticked" if ticked else "No idea of the reference ticked yet"
        return {"text/plain": words, MIME: {"name": name, "ticked": ticked}}

    button.on_click(open_reference)
    reference = display(Markdown(""), display_id=True)
    display({**panel._repr_mimebundle_(), "text/plain": "Run this cell to compare your answer."}, raw=True)
    below = display(bundle(), raw=True, display_id=True)
    for box in boxes:
        box.observe(lambda _: below.update(bundle(), raw=True), "value")
    if kept:
        open_reference()
