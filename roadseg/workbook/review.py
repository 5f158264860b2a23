"""What a student sees in a notebook of the own progress: every answer's state, and reference answers beside one's own.

Both read the notebooks' files, so they show what has been saved. Ticks are outputs of their cell: they stay in the
notebook's file, and are found there again.
"""

from __future__ import annotations

from pathlib import Path

from IPython.display import Markdown, display

from roadseg import plots
from roadseg.errors import OptionError
from roadseg.workbook import notebooks as workbook
from roadseg.workbook import questions

MIME = "application/vnd.roadseg.ideas+json"


def overview() -> None:
    """Show all tasks and questions as they stand in the saved notebooks: points, and whether each is done."""
    own = workbook.own_notebook()
    if own is None:
        display(Markdown("*Opened in JupyterLab, this cell lists what is done and what is open, as last saved.*"))
        return
    rows = {}
    for entry in workbook.read(own.parent).entries:
        kind = "" if entry.item.label.startswith("Task") else f", {entry.item.kind}"
        rows[entry.item.label + kind] = {"points": entry.item.points, "state": entry.state, "note": entry.remark}
    display(plots.table(rows, columns=("points", "state", "note")))


def compare(question: int) -> None:
    """Offer the reference answer to a question, with the expected ideas to tick off, once there is an own answer.

    Raises
    ------
    OptionError : a question that is not answered in text.
    """
    name = f"answer-{question}"
    if name not in {item.id for item in questions.ITEMS if item.kind == "text"}:
        raise OptionError(f"question {question!r} has no text to compare: choose one that is answered in Markdown.")
    own, rubric = workbook.own_notebook(), questions.rubrics().get(name)
    if rubric is None:
        display(Markdown("*The reference answer comes with the feedback.*"))
    elif own is None:
        display(
            Markdown(f"*Opened in JupyterLab, this cell offers the reference and {len(rubric.ideas)} ideas to tick.*")
        )
    else:
        _Comparison(name, own, rubric).show()


class _Comparison:
    """A button, then the reference answer and a box for each idea; what is ticked is an output below them."""

    def __init__(self, name: str, path: Path, rubric: questions.Rubric):
        import ipywidgets

        self.name, self.path, self.ideas = name, path, rubric.ideas
        self.ticked = _kept_ticks(name, path)
        self.message = ipywidgets.Label()
        self.button = ipywidgets.Button(
            description="Compare with the reference answer", layout={"width": "max-content"}
        )
        self.button.on_click(lambda _: self.open())
        self.boxes = [
            ipywidgets.Checkbox(i in self.ticked, description=idea, indent=False, layout={"width": "auto"})
            for i, idea in enumerate(self.ideas)
        ]
        for box in self.boxes:
            box.observe(self._tick, "value")
        self.panel = ipywidgets.VBox([self.button, self.message])

    def show(self) -> None:
        self.reference = display(Markdown(""), display_id=True)
        display(self.panel)
        self.below = display(self._told(), raw=True, display_id=True)
        if self.ticked:
            self.open()

    def open(self) -> None:
        """Show the reference, or say what has to come first."""
        entry = next(entry for entry in workbook.read(self.path.parent).entries if entry.item.id == self.name)
        if not entry.done:
            why = f" ({entry.remark})" if entry.remark else ""
            self.message.value = f"First write your answer, and save the notebook{why}."
            return
        self.reference.update(Markdown(f"**Reference.** {reference_answer(self.name).removeprefix('**Answer.** ')}"))
        self.message.value = "Which of these ideas does your answer hold?"
        self.panel.children = [self.message, *self.boxes]

    def _tick(self, change: dict) -> None:
        self.ticked = [i for i, box in enumerate(self.boxes) if box.value]
        self.below.update(self._told(), raw=True)

    def _told(self) -> dict:
        text = f"{len(self.ticked)} of {len(self.ideas)} ideas ticked" if self.ticked else "No idea ticked yet"
        return {"text/plain": text, MIME: {"name": self.name, "ticked": self.ticked}}


def _kept_ticks(name: str, path: Path) -> list[int]:
    """The ideas that were ticked when the notebook was last saved, by position."""
    for cell in workbook.read_notebook(path)["cells"]:
        for output in cell.get("outputs", ()):
            kept = output.get("data", {}).get(MIME, {})
            if kept.get("name") == name:
                return list(kept["ticked"])
    return []


def reference_answer(name: str) -> str:
    """The worked notebook's answer, Markdown; a sentence where the worked notebooks are not here."""
    path = workbook.worked_folder() / f"{questions.item(name).notebook}.ipynb"
    for cell in workbook.read_notebook(path)["cells"]:
        if cell["id"] == name and workbook.TEXT_STUB not in "".join(cell["source"]):
            return "".join(cell["source"])
    return "The reference answer comes with the feedback."
