"""The report to hand in, in reading order:

build       the HTML file, the PDF and the zip with its manifest
contents    what the report says: results, curves, answers, what made them
markdown    an answer's Markdown as a tree that can do nothing
images      pasted images, decoded and encoded again
pages       the tree as HTML (report.html) and as PDF (report.typ)
pandoc      the program pandoc, and its tree
"""

from roadseg.report.build import ReportError, Written, write_report

__all__ = ["ReportError", "Written", "write_report"]
