"""The teacher's side: a course graded with nbgrader."""
