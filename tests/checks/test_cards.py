"""Cards: what they say and show, and that no code of a reader's gets out of hand."""

import html.parser
import signal
import threading
import time

import pytest

from roadseg.checks.result import MIME, NOT_WRITTEN, Attempt, Result, TimeUp, attempt, limited


def own_step():
    """Stands for the package's function."""


def result(**changes):
    fields = {
        "name": "train_step",
        "title": "Task 1, the training step",
        "passed": False,
        "cause": "not_applied",
        "message": "No weight moves: is `apply_gradients` called?",
        "right": ("probabilities are returned", "the loss is right"),
        "look": "the line after the gradients",
        "hints": ("What moves the weights?", "The optimiser does.", "Call its method."),
        "function": own_step,
    }
    return Result(**{**fields, **changes})


class Reader(html.parser.HTMLParser):
    """Collects the text of HTML, and how deep each <details> lies."""

    def __init__(self, source):
        super().__init__()
        self.text, self.depth, self.depths, self.tags = "", 0, [], set()
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "details":
            self.depth += 1
            self.depths.append(self.depth)
            assert "open" not in dict(attributes)

    def handle_endtag(self, tag):
        self.depth -= tag == "details"

    def handle_data(self, data):
        self.text += data


def test_the_text_says_what_is_wrong_what_works_and_where_to_look():
    text = repr(result())
    assert text.splitlines()[0] == "Task 1, the training step: not right yet"
    for part in (
        "apply_gradients",
        "probabilities are returned",
        "the loss is right",
        "the line after",
        "own own_step",
    ):
        assert part in text


def test_a_right_answer_and_an_untouched_one_have_their_own_words():
    assert "right" in repr(result(passed=True, cause=None)).splitlines()[0]
    assert "stands in" not in result(passed=True, cause=None).stands_in
    assert result(cause=NOT_WRITTEN).verdict == "not written yet"
    assert bool(result(passed=True, cause=None)) and not bool(result())


def test_the_card_holds_the_same_and_its_hints_open_one_at_a_time():
    bundle = result()._repr_mimebundle_()
    page = Reader(bundle["text/html"])
    assert "not right yet" in page.text and "Hint 3 of 3" in page.text and "Call its method." in page.text
    assert page.depths == [1, 2, 3]  # each hint lies in the one before
    assert bundle["text/plain"] == repr(result())
    assert bundle[MIME] == {"name": "train_step", "passed": False, "cause": "not_applied"}


def test_backticks_are_code_and_markup_is_text():
    page = Reader(result(message="<script>alert(1)</script> `a < b`")._repr_mimebundle_()["text/html"])
    assert "script" not in page.tags and "<script>alert(1)</script> a < b" in page.text and "code" in page.tags


def test_what_ends_in_time_gives_its_value():
    assert limited(lambda: 7, seconds=5) == 7
    assert attempt(lambda: 7) == Attempt(value=7)


def test_what_does_not_end_is_stopped():
    def endless():
        while True:
            time.sleep(0.01)

    with pytest.raises(TimeUp, match="no end"):
        limited(endless, seconds=0.2)
    assert isinstance(attempt(endless, seconds=0.2).error, TimeUp)


def test_what_is_deaf_to_interrupts_ends_too_and_stays_deaf():
    """As a process that a script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(TimeUp):
            limited(lambda: time.sleep(20), seconds=0.2)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert limited(lambda: 3) == 3
    finally:
        signal.signal(signal.SIGINT, before)
    assert threading.active_count() < 20


@pytest.mark.slow
def test_a_sleep_and_a_loop_that_catches_everything_are_stopped_too():
    def caught():
        left = 2
        while left:
            try:
                time.sleep(60)
            except:  # noqa: E722
                left -= 1
        time.sleep(60)

    started = time.monotonic()
    with pytest.raises(TimeUp):
        limited(caught, seconds=0.1)
    assert time.monotonic() - started < 30


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="this system tells no thread's own work")
def test_only_own_work_counts_as_busy():
    def working():
        while True:
            pass

    with pytest.raises(TimeUp, match="after 1 seconds"):
        limited(working, seconds=60, busy=1)
    assert limited(lambda: time.sleep(0.5) or 7, seconds=60, busy=0.1) == 7


def test_the_limit_does_not_fire_later():
    for _ in range(20):
        limited(lambda: time.sleep(0.001), seconds=0.002 + 1)
    time.sleep(0.05)


def test_an_error_comes_back_in_one_line():
    def broken():
        raise ValueError("first\nsecond")

    found = attempt(broken)
    assert found.value is None and found.line == "ValueError: first" and Attempt(value=1).line == ""


def test_an_interrupt_of_the_reader_passes():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(interrupted)


def test_outside_the_main_thread_there_is_no_limit():
    values = []
    thread = threading.Thread(target=lambda: values.append(limited(lambda: 7, seconds=5)))
    thread.start()
    thread.join()
    assert values == [7]
