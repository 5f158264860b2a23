"""Typst as a program of its own, so that nothing that goes wrong inside typst ends ours.

    python document_typst.py FOLDER TIMESTAMP

sets FOLDER/main.typ with the system's fonts and those in FOLDER/fonts, and writes FOLDER/main.pdf, a PDF/A-2u: all its
text can be copied. It reads no other file. Where that fails, it prints why and gives status 1.
"""

import sys
from pathlib import Path

import typst


def main(folder: Path, timestamp: int) -> int:
    """Set the folder's document; return the exit status."""
    fonts = typst.Fonts(font_paths=[str(folder / "fonts")])
    try:
        typst.compile(
            str(folder / "main.typ"),
            output=str(folder / "main.pdf"),
            root=str(folder),
            font_paths=fonts,
            pdf_standards="a-2u",
            timestamp=timestamp,
        )
    except typst.TypstError as error:
        sys.stdout.buffer.write(f"{error.message}\n{error.diagnostic}".encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
