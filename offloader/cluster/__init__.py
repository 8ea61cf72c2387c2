"""The cluster's own life: are the nodes fit, what is installed on them, which services run there."""
