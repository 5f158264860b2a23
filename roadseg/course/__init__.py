"""The teacher's side: a course graded with nbgrader. Needs the extra `course`.

workflow         from a course folder to a table of points, by running nbgrader
archive          what a class gets: the package and blank notebooks, and no answers
collect          submissions out of the zips that students hand in
nbgrader_config  nbgrader's settings, copied into each course folder
grading          the preprocessors that these settings name
needs            which cells of a notebook grading runs

Left out of the copy for students.
"""
