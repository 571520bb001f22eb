"""One-line faults, and a script that shows that the tests catch each of them.

Every ``NN-name.patch`` changes one line of the product as a plausible mistake would. Text in front of the diff says
what is wrong, which tests catch it, and which suite they belong to: ``test`` (``make test``) or ``test-all``.

``python -m tests.faults`` applies the patches one by one to a copy of the tree and runs the tests that they name.
"""
