"""What keeps a benchmark from being run."""


class CannotRunError(Exception):
    """Something is missing here, or a program failed; the message says what, and how to mend it where that is known."""
