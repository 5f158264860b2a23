"""The teacher's side: a course graded with nbgrader. Needs the extra `course`.

workflow         from a course folder to a table of points, by running nbgrader
archive          what a class gets: the package and blank notebooks, and no answers
collect          the notebooks that count, of what students hand in
delivery         files in folders and zips, and whose they are
roster           names that platforms give, and the course's table of students
judging          a submission graded, from bytes to plain data
workers          whoever grades, here or on other machines, by Dask
sandbox, inside  the wall around student code, and what runs behind it
cells            what nbgrader knows of a notebook
signs            what stands out in a student's code
sanitizing       notebooks of which nothing runs in a browser
grading          what is added to nbgrader's grading, named in its settings
nbgrader_config  these settings, copied into each course folder
reading          all answers to a question, the alike together, and their marks
review_panel     the page on which they are read
stats            what the class did not understand
feedback         a page for each student

Left out of the copy for students.
"""
