"""The page on which answers are read and marked, in a notebook of the course folder, by keyboard alone.

Whatever is typed goes to one command line, which keeps the focus; COMMANDS says what it understands. Nobody's name is
shown, and student text goes through `sanitizing`.
"""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from roadseg import workbook
from roadseg.course.reading import Mark, Reading, open_answers, students_of
from roadseg.course.sanitizing import markdown2html
from roadseg.errors import OptionError, RoadsegError
from roadseg.workbook.questions import Item, rubrics, text_item

COMMANDS = {
    "13": "give ideas 1 and 3, and go on (0: no idea)",
    "=2.5": "give 2.5 points, whatever the ideas",
    "13 c text": "with a comment; c2 repeats comment 2",
    "13!": "overwrite marks that are there",
    "13 x 4 6": "to all texts of the group but 4 and 6; 13 @ 4 6: to these alone",
    "u": "undo the last step",
    "n, p": "next, previous group",
    "q 5": "question 5 (q task-3: task 3)",
}
GIVEN = r"(?P<ideas>[\d ]*)(= *(?P<points>\d+(\.\d+)?))? *((?P<which>[x@])(?P<numbers>[\d ]+))?(?P<again>!?)"
MARKING = re.compile(rf"{GIVEN} *(c(?P<reused>\d+)|c +(?P<comment>\S.*))?")
PALE = "color: var(--jp-ui-font-color2)"
CARD = "border-top: 1px solid var(--jp-border-color1); padding: 0 .5em; line-height: 1.8"
COMMENTS = 12  # that are listed to be given again


def review(question: int | str | None = None, course: Path | str = ".") -> None:
    """Show the panel in a notebook. question : a number or an id; None: the first that has answers without a mark.

    Raises
    ------
    CourseError : no course, or nothing has been graded. OptionError : no such question, or not answered in text.
    """
    from IPython.display import display

    panel = Panel(Path(course).absolute(), question)
    display({**panel.view._repr_mimebundle_(), "text/plain": "Run this cell to read answers."}, raw=True)
    panel.line.focus()


class Panel:
    """One person's reading of a course. view : the widgets; line : the command line among them.

    The line's value begins with a prompt that is new after each command. So a command runs once: what is typed while
    another one runs belongs to an old prompt, and is dropped.
    """

    def __init__(self, course: Path, question: int | str | None = None):
        import ipywidgets

        self.course, self.message, self.comment, self._number = course, "", None, 0
        waiting = open_answers(course)
        first = next((found for found, count in waiting.items() if count), next(iter(waiting)))
        self.line = ipywidgets.Textarea(rows=1, layout={"width": "100%"})
        pages = [ipywidgets.HTML(layout={"width": "100%"}) for _ in range(4)]
        self.status, self.rubric, self.reference, self.texts = pages
        self._read(text_item(question) if question else first)
        rows = (f"<code>{escape(typed)}</code> &nbsp; {escape(what)}<br>" for typed, what in COMMANDS.items())
        commands = f"<summary>Commands, each followed by Enter</summary>{''.join(rows)}"
        below = ipywidgets.HTML(f"<details open style='{PALE}; line-height: 1.4'>{commands}</details>")
        left = ipywidgets.VBox([self.line, *pages[:3], below], layout={"flex": "0 0 36%", "padding": "0 1em 0 0"})
        right = ipywidgets.VBox([self.texts], layout={"flex": "1", "max_height": "85vh", "overflow": "auto"})
        self.view = ipywidgets.HBox([left, right])
        self._ask()
        self.line.observe(self._typed, "value")

    def run(self, command: str) -> None:
        """Do what a line says, and keep what came of it in `message`."""
        self.message, command = "", command.strip()
        word, _, rest = command.partition(" ")
        try:
            if found := MARKING.fullmatch(command) if command else None:
                self._mark(found)
            elif word == "u":
                kept = self.reading.undo()
                self.message = "nothing to undo" if kept is None else "undone"
                self.message += f"; {len(kept)} stay as another person has changed them" if kept else ""
            elif word in ("n", "p") and self.reading.groups:
                place = (self.reading.place + (1 if word == "n" else -1)) % len(self.reading.groups)
                self.reading.refresh()
                self.message = "" if self.reading.go_to(place) else "another person reads this group"
            elif word == "q" and rest:
                self._read(text_item(rest.strip()))
            else:
                self.message = f"not understood: {command}"
        except RoadsegError as error:
            self.message = str(error)

    def _read(self, wanted: Item) -> None:
        if wanted.id not in rubrics():
            raise OptionError(f"there is no rubric of {wanted.id}: read answers in a whole copy of the project.")
        reading = Reading(self.course, wanted)
        if hasattr(self, "reading"):
            self.reading.leave()
        self.reading, self.comment = reading, None
        answer = _shown(workbook.reference_answer(wanted.id))
        self.reference.value = f"<details open><summary>Reference answer</summary>{answer}</details>"
        reading.go_on()

    def _mark(self, found: re.Match) -> None:
        """Mark the group, and go to the next unless something in this one stays as it is."""
        reading, ideas, comment, only = self.reading, _ideas(found["ideas"]), found["comment"], None
        if found["reused"]:
            if not 0 < (number := int(found["reused"])) <= len(reading.comments):
                raise OptionError(f"there is no comment {number}.")
            comment = reading.comments[number - 1]
        if not found["ideas"].strip() and found["points"] is None:
            self.comment = comment
            self.message = f"comment for the next mark: {comment}" if comment else "no ideas and no points given"
            return
        if found["which"]:
            every, only = set(range(1, 1 + len(reading.group))), set(map(int, found["numbers"].split()))
            if not only or only - every:
                raise OptionError(f"texts {found['numbers'].strip()}: expected numbers from 1 to {len(every)}.")
            only = only if found["which"] == "@" else every - only
        points = float(found["points"]) if found["points"] else points_for(reading.item, ideas)
        if points > reading.item.points:
            raise OptionError(f"{points:g} points: expected at most {reading.item.points}.")
        marking = {"comment": comment or self.comment, "ideas": None if found["points"] else ideas}
        kept = reading.give(points, **marking, only=only, overwrite=bool(found["again"]))
        self.message, self.comment = f"{points:g} points given", None
        if kept:
            self.message = f"another person has marked or changed {len(kept)} of these: look again (! overwrites)"
        elif not reading.go_on():
            self.message += "; others read what is left" if reading.left else "; all are marked"

    def _typed(self, change: dict) -> None:
        """Show the ideas that are being typed; run the line once it ends."""
        prompt, typed = self._prompt(), change["new"]
        if typed.startswith(prompt) and "\n" not in typed:
            found = MARKING.fullmatch(typed.removeprefix(prompt).strip())
            self.rubric.value = rubric_page(self.reading, _ideas(found["ideas"]) if found else [])
        elif typed != prompt:
            if typed.startswith(prompt):
                self.run(typed.removeprefix(prompt).partition("\n")[0])
            self._ask()

    def _prompt(self) -> str:
        return f"{self._number}> "

    def _ask(self) -> None:
        """Show everything as it is now, behind a new prompt."""
        reading = self.reading
        self.texts.value, self.rubric.value = group_page(reading), rubric_page(reading, [])
        count = len(reading.groups)
        place = f"Group {min(reading.place + 1, count)} of {count}, {len(students_of(reading.group))} answers"
        waiting = f"{reading.left} of {sum(len(students_of(group)) for group in reading.groups)} answers wait"
        self.status.value = f"<div style='line-height: 1.4'><b>{place}; {waiting}.</b> {escape(self.message)}</div>"
        self._number += 1
        self.line.value = self._prompt()


def _ideas(typed: str) -> list[int]:
    return sorted({int(digit) for digit in typed if digit.strip("0 ")})


def points_for(wanted: Item, ideas: list[int]) -> float:
    """The points for ideas of the rubric, by their numbers from 1. Raises OptionError where there is no such idea."""
    worth = rubrics()[wanted.id].points
    if unknown := [number for number in ideas if number > len(worth)]:
        raise OptionError(f"idea {unknown[0]}: expected 1 to {len(worth)}.")
    return min(sum(worth[number - 1] for number in ideas), wanted.points)


def rubric_page(reading: Reading, ideas: list[int]) -> str:
    """The question, its rubric with these ideas ticked, and comments to reuse, as HTML."""
    wanted, rubric = reading.item, rubrics()[reading.item.id]
    ideas = [number for number in ideas if number <= len(rubric.ideas)]
    lines = [
        f"{'☑' if number in ideas else '☐'} **{number}** {idea} ({points:g})"
        for number, (idea, points) in enumerate(zip(rubric.ideas, rubric.points), start=1)
    ]
    lines += [f"**{points_for(wanted, ideas):g} of {wanted.points} points**"]
    lines += [f"**c{number}** {comment}" for number, comment in enumerate(reading.comments[:COMMENTS], start=1)]
    mistakes = "\n".join(f"- {mistake}" for mistake in rubric.mistakes)
    head = f"**{wanted.label}. {wanted.title}.** {wanted.text}"
    return _shown("\n\n".join([head, "  \n".join(lines), "Common mistakes:", mistakes]))


def group_page(reading: Reading) -> str:
    """The texts of a group, each once, with how many students have it and their marks, as HTML."""
    cards = []
    for number, students in enumerate(reading.group, start=1):
        answer = reading.answers[students[0]]
        body = _shown("*no answer*" if answer.is_blank else answer.source, answer.attachments)
        marks = Counter(map(_told, (reading.marks[student] for student in students)))
        told = "; ".join(f"{count} × {mark}" if len(students) > 1 else mark for mark, count in marks.items())
        style = CARD if any(reading.marks[student].is_open for student in students) else f"{CARD}; opacity: .5"
        cards.append(
            f"<div style='{style}'><div style='{PALE}'><b>{number}</b> &nbsp; {escape(told)}</div>{body}</div>"
        )
    return "".join(cards) or "There are no answers to read."


def _shown(source: str, attachments: dict | None = None) -> str:
    """Markdown as HTML of which nothing runs, in lines that are closer than those of widgets."""
    return f"<div style='line-height: 1.4'>{markdown2html({'cell': {'attachments': attachments or {}}}, source)}</div>"


def _told(mark: Mark) -> str:
    given = "to mark" if mark.is_open else f"marked: {mark.points or 0:g} points"
    return f"{given}, {mark.comment}" if mark.comment else given


def write_review(course: Path, question: str | None) -> Path:
    """Write the notebook that shows the panel, unless it is there; return its path. question : an id, None: any."""
    path = course / (f"review-{question}.ipynb" if question else "review.ipynb")
    if not path.exists():
        intro = "Run the cell below with Shift+Enter. Then type into its command line, which keeps the focus."
        code = f"from roadseg.course.review_panel import review\n\nreview({repr(question) if question else ''})"
        cells = [new_markdown_cell(intro), new_code_cell(code, metadata={"jupyter": {"source_hidden": True}})]
        kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path
