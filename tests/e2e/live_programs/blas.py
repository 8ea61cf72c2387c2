"""Matrices multiplied by the threads of BLAS, and what came of it; an argument says after how many rounds."""

import hashlib
import sys

import numpy as np
import signs

ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else None
SIZE = 300

told = signs.reporter()
state = np.random.default_rng(7).standard_normal((SIZE, SIZE))
turn = np.linalg.qr(np.random.default_rng(8).standard_normal((SIZE, SIZE)))[0]
signs.ready()
done = 0
while not signs.over() if ROUNDS is None else done < ROUNDS:
    told.report()
    state = np.tanh(turn @ state)
    done += 1
digest = hashlib.sha256(state.tobytes()).hexdigest()
signs.RESULT.write_text(f"{done} {digest}", encoding="ascii")
sys.exit(3)
