"""200 MB of state, checked all over at the end, and a log that stays open."""

import os
import sys
import time

import signs

SIZE, PAGE = 200_000_000, 4096

memory = bytearray(os.urandom(PAGE) * (SIZE // PAGE))
pages = SIZE // PAGE
told = signs.reporter()
step = 0
with signs.LOG.open("a", encoding="ascii") as log:
    signs.ready()
    while not signs.over():
        told.report()
        step += 1
        memory[step % pages * PAGE : step % pages * PAGE + 8] = step.to_bytes(8, "little")
        print(step, file=log, flush=True)
        time.sleep(0.02)
kept = all(int.from_bytes(memory[at * PAGE : at * PAGE + 8], "little") == at for at in range(1, min(step, pages - 1)))
rest = memory[8:PAGE]
same = all(memory[at * PAGE + 8 : (at + 1) * PAGE] == rest for at in range(pages))
sys.exit(7 if kept and same else 1)
