"""grid-offloader: keeps a head node responsive by moving running work to idle workers."""
