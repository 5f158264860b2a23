"""The report to hand in."""
