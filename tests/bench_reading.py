"""How long the reading of a class takes: made-up answers, read on the panel of `course review` until all are marked.

    python tests/bench_reading.py                      # 300 students, 3,900 answers: four minutes
    python tests/bench_reading.py --students 30

An answer says some of the rubric's ideas, each as the rubric or as the reference answer has it, with words left out and
others in their places; some are blank, copied or wrong. A reader who makes no mistake gives each answer its ideas. What
is measured is the machine's part: from Enter until the next group is there, without the browser. How long a person
looks at a text is not: the last line says how fast the reading has to be. Real answers are less alike than these.
"""

import argparse
import os
import random
import re
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from handed_in import answered_course

from roadseg import workbook
from roadseg.course.reading import open_answers
from roadseg.course.review_panel import Panel
from roadseg.workbook.questions import Item, rubrics

BLANK, COPIED, WRONG = 0.08, 0.05, 0.15  # of all answers
SAID = 0.7  # how often an answer says an idea
KEPT = 0.85  # of the words of a sentence
STARTS = ("", "", "I think that", "As the figure shows,", "In my run", "We see that", "The reason:", "In short,")
OTHER_WORDS = {
    "network": ("model", "net"),
    "about": ("roughly", "around", "ca."),
    "because": ("since", "as"),
    "pixels": ("points", "px"),
    "road": ("street",),
    "every": ("each",),
    "larger": ("bigger",),
    "shows": ("tells", "says"),
    "many": ("lots of", "a lot of"),
    "are": ("would be",),
}
HOURS = 8  # in which a class is to be read


def sentence(source: str, rng: random.Random) -> str:
    """What a sentence says, in somewhat other words."""
    kept = [word for word in source.strip(" .").split() if rng.random() < KEPT]
    words = [rng.choice((word, *OTHER_WORDS.get(word, ()))) for word in kept]
    start = rng.choice(STARTS)
    return " ".join([start, *words] if start else words) + "."


def answers(item: Item, students: list[str], rng: random.Random) -> dict[str, tuple[str, tuple[int, ...]]]:
    """By student a text, and the numbers of the rubric's ideas that are in it."""
    rubric, made = rubrics()[item.id], {}
    reference = workbook.reference_answer(item.id).removeprefix("**Answer.** ")
    stated = [part for part in re.split(r"(?<=[.:;])\s+", reference) if len(part.split()) > 3]
    for student in students:
        kind = rng.random()
        if kind < BLANK:
            made[student] = "", ()
        elif kind < BLANK + COPIED and made:
            made[student] = rng.choice(list(made.values()))
        else:
            ideas = [number for number in range(len(rubric.ideas)) if rng.random() < SAID]
            said = [rng.choice((rubric.ideas[i], stated[i * len(stated) // len(rubric.ideas)])) for i in ideas]
            said += [rng.choice(rubric.mistakes)] if rng.random() < WRONG or not said else []
            rng.shuffle(said)
            made[student] = " ".join(sentence(one, rng) for one in said), tuple(i + 1 for i in ideas)
    return made


def read(panel: Panel, right: dict[str, tuple[int, ...]]) -> list[float]:
    """Mark all answers to the panel's question; the seconds of each decision.

    Those of a group that are to get the ideas that most in it have get them in one decision.
    """
    reading, seconds = panel.reading, []
    while before := reading.left:
        waiting = {
            number: right[students[0]]
            for number, students in enumerate(reading.group, start=1)
            if reading.marks[students[0]].is_open
        }
        ((ideas, _),) = Counter(waiting.values()).most_common(1)
        others = [str(number) for number, own in waiting.items() if own != ideas]
        typed = "".join(map(str, ideas)) or "0"
        typed += f" x {' '.join(others)}" if others else ""
        started = time.perf_counter()
        panel.line.value += f"{typed}\n"
        seconds.append(time.perf_counter() - started)
        assert reading.left < before, panel.message
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "Object of type")  # SQLAlchemy's of how nbgrader adds submissions
    rng, students = random.Random(options.seed), [f"student{i:03}" for i in range(options.students)]
    made = {item: answers(item, students, rng) for item in workbook.ITEMS if item.kind == "text"}
    rows, every = [], []
    with tempfile.TemporaryDirectory() as folder:
        texts = {student: {item.id: own[student][0] for item, own in made.items()} for student in students}
        course = answered_course(Path(folder) / "course", texts)
        print(f"{'question':10}{'opens':>8}{'texts':>8}{'words':>8}{'groups':>8}{'decisions':>11}{'each':>8}")
        for item, own in made.items():
            started = time.perf_counter()
            panel = Panel(course, item.id)
            opened = time.perf_counter() - started
            shown = {text for text, _ in own.values() if text}
            words, groups = sum(len(text.split()) for text in shown), len(panel.reading.groups)
            seconds = read(panel, {student: ideas for student, (_, ideas) in own.items()})
            every += seconds
            rows.append((opened, len(shown), words))
            print(f"{item.id:10}{opened:6.1f} s{len(shown):8}{words:8}{groups:8}{len(seconds):11}", end="")
            print(f"{sum(seconds) / len(seconds):6.2f} s", flush=True)
        assert not any(open_answers(course).values())
    opened, shown, words = map(sum, zip(*rows))
    print(f"{len(made) * len(students)} answers, {shown} texts, {words} words, {len(every)} decisions: ", end="")
    print(f"{sum(every) / len(every):.2f} s each, at most {max(every):.2f} s; load", *map(round, os.getloadavg()))
    left = 3600 * HOURS - opened - sum(every)
    print(f"{HOURS} hours leave {left / shown:.1f} s for a text of {words / shown:.0f} words: ", end="")
    print(f"{60 * words / left:.0f} words a minute")


if __name__ == "__main__":
    main()
