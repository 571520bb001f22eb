"""Parameters of which ``make test`` runs some and ``make test-all`` all."""

import pytest
import torch


def slow_but(fast, cases):
    """Return the cases as parameters; all are slow but those of ``fast``, which cover the lines of the others."""
    assert set(fast) <= set(cases)
    return [case if case in fast else slow(case) for case in cases]


def slow(case):
    """Return a case as a parameter that is slow."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)


def needs_gpu(test):
    """Return a test that is skipped, with the reason, where there is no GPU."""
    skipped = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
    return pytest.mark.gpu(skipped(test))
