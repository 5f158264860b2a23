"""nbgrader's settings of a course. `python -m roadseg course setup` copies this file there once; then it is yours."""

from pathlib import Path

from roadseg import workbook
from roadseg.course.workflow import ASSIGNMENT

c = get_config()  # noqa: F821 (nbgrader runs this file, and defines it)
course = Path(__file__).resolve().parent
c.CourseDirectory.root = str(course)
c.CourseDirectory.course_id = course.name

# What replaces a solution, and a written answer.
c.ClearSolutions.code_stub = {"python": workbook.CODE_STUB}
c.ClearSolutions.text_stub = workbook.TEXT_STUB

# Missing cells are put back, nothing that a student wrote runs in a browser, and each text is graded below its rubric.
# No code runs here: `python -m roadseg course grade` runs it behind a wall, and names the file with what was found.
c.Autograde.sanitize_preprocessors = [
    "roadseg.course.grading.RestoreCells",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "roadseg.course.grading.RecordPoints",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "roadseg.course.grading.ShowRubrics",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.RestoreCells.handed_out = str(course / "release" / ASSIGNMENT)
c.ShowRubrics.worked = str(course / "source" / ASSIGNMENT)
c.HTMLExporter.filters = {"markdown2html": "roadseg.course.sanitizing.markdown2html"}

# What late days cost, from the due date (`setup --due`, or the formgrader) and the time stamps of what was collected.
c.AssignLatePenalties.plugin_class = "roadseg.course.grading.LateDays"
c.LateDays.percent = 0  # of the points, for each day that has begun
c.LateDays.free_days = 0
