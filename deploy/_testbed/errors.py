"""What can go wrong, as the person at the terminal should read it.

TestbedError
├── MissingRequirementError   this machine lacks something; the message says what to do
└── NodeDownError             the named node is not running
"""


class TestbedError(Exception):
    """The test bed could not do what was asked; the message says what to do next."""

    exit_code = 1


class MissingRequirementError(TestbedError):
    """This machine lacks privileges, tools or kernel features."""

    exit_code = 2


class NodeDownError(TestbedError):
    """The node is not running."""

    exit_code = 125
