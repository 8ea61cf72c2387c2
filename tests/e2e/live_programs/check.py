"""The last part of a pipeline: nothing is missing, nothing comes twice."""

import sys

expected = 0
for line in sys.stdin:
    expected += 1
    if int(line) != expected:
        sys.exit(1)
sys.exit(6 if expected else 1)
