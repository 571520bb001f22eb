"""Damaged files are read, one after the other, in a process of their own: what comes of each."""

import multiprocessing
import os
import random
import resource
import traceback
from dataclasses import dataclass

from compressor.errors import DasError

CONTRACT = (2, 3, 4, 5)  # exit codes of what das refuses
SECONDS = 60  # that one file may take; the slowest here takes one
MEMORY = 8 << 30  # bytes of addresses; a file of a few kilobytes needs no more than the libraries themselves


@dataclass(frozen=True)
class Attempt:
    """What came of one damaged file.

    Attributes:
        number: of the file, from which its damage follows.
        outcome: "read", or the codes of the problems it was refused with.
        fault: what should not have come of it: an exception, a signal, a time; empty otherwise.
    """

    number: int
    outcome: str
    fault: str = ""


def attempt_all(target, numbers, seed, folder):
    """Yield the attempt of each damaged file of a kind; one that ends its process costs no other."""
    left = list(numbers)
    while left:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_work, args=(target, left, seed, folder, theirs))
        process.start()
        theirs.close()
        while left:
            try:
                attempt = ours.recv() if ours.poll(SECONDS) else Attempt(left[0], "", f"took over {SECONDS} s")
            except EOFError:
                process.join()
                attempt = Attempt(left[0], "", f"ended its process with {process.exitcode}")
            left.pop(0)
            yield attempt
            if attempt.fault.startswith(("took", "ended")):
                break
        process.kill()
        process.join()


def damaged(target, number, seed, sound):
    """Return the bytes of a damaged file."""
    return target.damage(sound, random.Random(f"{seed} {target.name} {number}"))


def _work(target, numbers, seed, folder, results):
    """Read the damaged files and send what came of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries say there what the exception says again
    own = folder / str(numbers[0])
    own.mkdir()
    path = target.make(own)
    sound = path.read_bytes()
    target.read(own)  # what is not damaged has to be read
    beside = own / "damaged"
    for number in numbers:
        beside.write_bytes(damaged(target, number, seed, sound))
        beside.replace(path)  # the file before may still be mapped
        results.send(_attempt(target, number, own))


def _attempt(target, number, folder):
    try:
        target.read(folder)
    except DasError as error:
        right = error.exit_code in CONTRACT
        return Attempt(number, " ".join(error.codes), "" if right else f"exit code {error.exit_code}")
    except BaseException as error:  # a panic of Rust's is none of Exception
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Attempt(number, "", f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})")
    return Attempt(number, "read")
