"""nbgrader's settings of a course. `python -m roadseg course setup` copies this file there once; then it is yours."""

import os
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

# Missing cells are put back, only what a grade needs runs, and each text is graded below its rubric.
c.Autograde.sanitize_preprocessors = [
    "roadseg.course.grading.RestoreCells",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "roadseg.course.grading.ExecuteNeeded",
    "nbgrader.preprocessors.IgnorePattern",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "roadseg.course.grading.ShowRubrics",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.RestoreCells.handed_out = str(course / "release" / ASSIGNMENT)
c.ShowRubrics.worked = str(course / "source" / ASSIGNMENT)
c.ExecuteNeeded.timeout = 30  # seconds for a cell with an answer or a test, twice as many for one that they build on

# nbgrader takes whatever a test writes to stderr for its failure; a warning should cost no points.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = "."

os.environ["ROADSEG_RUNS"] = str(course / "runs")  # graded code writes no runs into your own folder
