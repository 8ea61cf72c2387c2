"""A model of the hand-off's protocol, small enough that every one of its states is looked at."""
