"""The commands, `python -m roadseg ...`, and the doctor."""
