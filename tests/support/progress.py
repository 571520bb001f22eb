"""Progress that tests look into."""

from contextlib import contextmanager

from compressor.progress import Bar, Progress


class StepBar(Bar):
    def __init__(self, progress, label):
        self.progress, self.label, self.number = progress, label, 0

    def advance(self):
        self.progress.step(self.label, self.number)
        self.number += 1


class StepProgress(Progress):
    """Calls ``begin`` where a loop begins and ``step`` at each of its steps; subclasses do something then."""

    def begin(self, label):
        pass

    def step(self, label, number):
        pass

    def track(self, items, label, total=None):
        self.begin(label)
        for number, item in enumerate(items):
            self.step(label, number)
            yield item

    @contextmanager
    def bar(self, label, total):
        self.begin(label)
        yield StepBar(self, label)
