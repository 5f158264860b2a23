"""Which cells an answer needs."""

import pytest
from handed_in import perfect

from roadseg.workbook.needs import find_names, needed_cells


@pytest.mark.parametrize(
    ("source", "used", "made"),
    [
        ("def f(x):\n    y = helper(x)\n    return [y * k for i in x]", {"helper", "k"}, {"f"}),
        ("def f():\n    global count\n    count = 1", set(), {"count", "f"}),
        ("class Net(keras.Model):\n    size = n", {"keras", "n"}, {"Net"}),
        ("from helpers import *", set(), {"*"}),
        ("rows['a'] = value", {"rows", "value"}, {"rows"}),
        ("%matplotlib inline\nx = 1", {"get_ipython"}, {"x"}),
        ("%%time\nx = f()", {"f"}, {"x"}),
        ("if (n := len(x)):\n    pass", {"len", "x"}, {"n"}),
        ("print(f\"{'\u00a0'.join(names)}\")", {"print", "names"}, set()),  # which Python 3.11 cannot unparse
        ("this is no Python", set(), set()),
    ],
)
def test_names_that_code_uses_and_makes(source, used, made):
    assert find_names(source)[:2] == (used, made)


def test_only_what_the_answers_build_on_is_needed():
    cells = [
        "import numpy as np",  # 0
        "run = train('unet')",  # 1: for minutes, and for nothing that is graded
        "def helper(x):\n    return scale * np.abs(x)",  # 2
        "scale = 1",  # 3
        "scale += 1",  # 4: changes what the helper uses
        "def answer(x):\n    return helper(x)",  # 5: the answer
        "figure = plot(run)",  # 6
        "assert answer(-1) == 2",  # 7: its test
        "scale = 7",  # 8: too late to matter
    ]
    assert needed_cells(cells, {5, 7}) == {0, 2, 3, 4, 5, 7}
    assert needed_cells(cells, set()) == set()
    assert needed_cells(["late = 1", "early = 2", "check(early)", "early"], {0, 1}, defines="early") == {0, 1}
    assert needed_cells(["late = 1", "check(early)", "early = 2"], {0, 1}, defines="early") == {0, 1, 2}
    assert needed_cells([*cells[:6], "from tricks import *", *cells[7:]], {5, 7}) == {0, 2, 3, 4, 5, 6, 7}
    assert needed_cells(["found = []", "found.append(1)", "len(found)"], {2}) == {0, 1, 2}
    assert needed_cells(["import plots", "plots.show(figure)", "plots.style"], {2}) == {0, 2}  # changes no module


def test_the_answers_of_perfect_notebooks_need_their_imports_only():
    for cells in (book["cells"] for book in perfect().values()):
        code = ["".join(cell["source"]) if cell["cell_type"] == "code" else "" for cell in cells]
        graded = {i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and "nbgrader" in cell["metadata"]}
        assert [cells[i]["id"] for i in needed_cells(code, graded) - graded] == ["imports"]
