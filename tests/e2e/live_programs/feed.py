"""The first part of a pipeline: counts."""

import sys
import time

import signs

told = signs.reporter()
signs.ready()
number = 0
while not signs.over():
    told.report()
    number += 1
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
    time.sleep(0.02)
