"""Time, and how to show it."""

import statistics
import time


class Series:
    """Durations of one thing, in seconds."""

    def __init__(self, name):
        self.name, self.values = name, []

    def time(self, action):
        started = time.perf_counter()
        answer = action()
        self.values.append(time.perf_counter() - started)
        return answer

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def p99(self):
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    def row(self):
        return [self.name, f"{self.median * 1e3:.1f} ms", f"{self.p99 * 1e3:.1f} ms", str(len(self.values))]


def table(title, heading, rows):
    """Rows in columns under a title."""
    print(f"\n{title}")
    widths = [max(len(str(row[i])) for row in [heading, *rows]) for i in range(len(heading))]
    for row in [heading, *rows]:
        print("  " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def until(probe, seconds=30.0, every=0.002):
    """The first true answer of `probe`."""
    deadline = time.perf_counter() + seconds
    while not (answer := probe()):
        if time.perf_counter() > deadline:
            raise TimeoutError(probe)
        time.sleep(every)
    return answer
