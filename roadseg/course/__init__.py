"""The teacher's side: a course graded with nbgrader. Needs the extra `course`.

workflow         from a course folder to a table of points, by running nbgrader
archive          what a class gets: the package and blank notebooks, and no answers
collect          the notebooks that count, of what students hand in
delivery         files in folders and zips, and whose they are
roster           names that platforms give, and the course's table of students
nbgrader_config  nbgrader's settings, copied into each course folder
grading          the preprocessors that these settings name
needs            which cells of a notebook grading runs

Left out of the copy for students.
"""
