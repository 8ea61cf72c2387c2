"""Pure decisions: time and data are arguments, nothing here reads a clock or the outside."""
