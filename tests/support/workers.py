"""Workers of a profile in threads of this process: the real ones take seconds to import PyTorch."""

import os
from threading import Thread

from profiles.timing.worker import serve


class ThreadProcess:
    """Stands for the process that ``profiles.timing.worker`` starts; what it does is the same."""

    def __init__(self, *command, **options):
        (commands, write), (read, answers) = os.pipe(), os.pipe()
        self.stdin, self.stdout, self.pid = os.fdopen(write, "w", buffering=1), os.fdopen(read), os.getpid()
        self.thread = Thread(target=self.serve, args=(os.fdopen(commands), os.fdopen(answers, "w")), daemon=True)
        self.thread.start()

    @staticmethod
    def serve(commands, answers):
        with commands, answers:
            serve(commands, answers)

    def wait(self):
        self.thread.join()
        return 0

    def kill(self):
        """A thread ends when its call does."""


def in_threads(monkeypatch):
    """Let every worker be a thread."""
    monkeypatch.setattr("profiles.timing.template.Popen", ThreadProcess)
    monkeypatch.setattr("profiles.timing.template.CAN_FORK", False)
