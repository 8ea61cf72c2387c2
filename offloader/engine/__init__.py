"""Pure decisions: time and data are arguments, nothing here reads a clock or the outside.

What others call: `candidates_of`, `candidate_for` (processes → candidates), `started`, `plan`, `moved` (the tick's
state), `permit_manual`, `place_on`, `place` (moves by hand), `explain`, `why` (for people). docs/engine.md tells more.
"""
