"""The progress line: one form, with rate and time left."""

import io
import re

from sidestream.streams.terminal.progress import LINE_EVERY_S, ProgressLine, duration
from sidestream.streams.terminal.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def progress(stream, term="xterm"):
    clock = Clock()
    screen = Screen(lambda: stream, {"TERM": term, "COLUMNS": "70"})
    return ProgressLine(screen, clock), clock, screen


def test_off_a_terminal_a_line_is_written_every_few_seconds() -> None:
    stream = io.StringIO()
    line, clock, _ = progress(stream)
    for second in range(21):
        clock.now_s = float(second)
        line.step("train", 100 * second, 4_000, "epoch 1: loss 2.0" if second > 5 else "")
    line.close()
    written = stream.getvalue().splitlines()
    assert written[0] == "train  500 of 4,000  100/s  35 s left"
    assert written[1] == "train  1,000 of 4,000  100/s  30 s left  epoch 1: loss 2.0"
    assert written[-1] == "train  2,000 in 20 s  100/s  epoch 1: loss 2.0"
    assert len(written) == 1 + 20 // LINE_EVERY_S


def test_on_a_terminal_one_line_is_redrawn() -> None:
    stream = Terminal()
    line, clock, screen = progress(stream)
    for tenth in range(100):
        clock.now_s = tenth / 10
        line.step("replay", tenth, 200, "a long note that does not fit next to the other parts of the line" * 2)
    screen.say("between")
    assert stream.getvalue().count("\n") == 1
    assert re.search(r"\r\x1b\[Kbetween\nreplay  9[89] of 200  10/s  10 s left", stream.getvalue())
    assert all(len(part.split("\n")[0]) < 70 for part in stream.getvalue().split("\r\x1b[K"))
    line.close()
    assert stream.getvalue().endswith("\n")


def test_a_terminal_that_cannot_redraw_gets_lines() -> None:
    stream = Terminal()
    line, clock, _ = progress(stream, term="dumb")
    line.step("read", 0, 1)
    clock.now_s = 12.0
    line.close()
    assert stream.getvalue() == "read  12 s\n"


def test_work_done_earlier_does_not_raise_the_rate() -> None:
    stream = io.StringIO()
    line, clock, _ = progress(stream)
    line.step("replay", 9_000, 10_000)
    clock.now_s = 10.0
    line.step("replay", 9_100, 10_000)
    clock.now_s = 20.0
    line.step("replay", 9_200, 10_000)
    line.close()
    assert stream.getvalue().splitlines() == [
        "replay  9,100 of 10,000",
        "replay  9,200 of 10,000  10/s  1:20 left",
        "replay  9,200 in 20 s  10/s",
    ]


def test_the_first_unit_does_not_predict_the_time_left() -> None:
    """The first step of a training takes seconds, those after it milliseconds."""
    stream = Terminal()
    line, clock, _ = progress(stream)
    line.step("train", 0, 1)
    for step in range(1, 1_001):
        clock.now_s = 4.0 + step / 50
        line.step("train", step, 1_000)
    left = re.findall(r"  (\S+(?: s)?) left", stream.getvalue())
    assert left[0] == "17 s"
    assert not [text for text in left if ":" in text]


def test_without_a_total_no_time_left_is_shown() -> None:
    stream = io.StringIO()
    line, clock, _ = progress(stream)
    line.step("read the topic", 1, 0)
    clock.now_s = 5.0
    line.step("read the topic", 1_001, 0)
    clock.now_s = 11.0
    line.step("read the topic", 7_001, 0)
    assert stream.getvalue().splitlines()[-1] == "read the topic  7,001  1,000/s"


def test_the_rate_is_measured_over_a_recent_window() -> None:
    stream = io.StringIO()
    line, clock, _ = progress(stream)
    done = 0
    for second in range(200):
        clock.now_s = float(second)
        done += 1_000 if second < 100 else 10
        line.step("train", done, 1_000_000)
    assert "  10/s  " in stream.getvalue().splitlines()[-1]


def test_stages_follow_each_other() -> None:
    stream = io.StringIO()
    line, clock, _ = progress(stream)
    line.step("prepare", 0, 1)
    clock.now_s = 10.0
    line.step("train", 0, 10, "")
    clock.now_s = 12.0
    line.step("train", 2, 10, "")
    clock.now_s = 20.0
    line.step("train", 10, 10, "")
    line.close()
    assert stream.getvalue().splitlines() == ["prepare  10 s", "train  10 of 10  1/s", "train  10 in 10 s  1/s"]


def test_short_stages_write_nothing() -> None:
    stream = io.StringIO()
    line, clock, _ = progress(stream)
    line.step("check", 0, 1)
    line.step("publish", 1, 3)
    clock.now_s = 4.9
    line.close()
    assert stream.getvalue() == ""


def test_durations_are_short() -> None:
    assert [duration(s) for s in (0.44, 12.2, 65, 8_000)] == ["0.4 s", "12 s", "1:05", "2:13:20"]


def test_a_stage_that_did_nothing_leaves_no_line() -> None:
    stream = Terminal()
    line, _, _ = progress(stream)
    for stage in ("read plays", "split"):
        line.step(stage, 0, 0)
    line.step("write rows", 3, 3)
    line.close()
    assert re.sub(r"\r\x1b\[K[^\r\n]*(?=\r)", "", stream.getvalue()).splitlines()[-1].endswith("write rows  3 in 0.0 s")
    assert stream.getvalue().count("\n") == 1
