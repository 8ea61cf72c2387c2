"""The test bed: a small cluster of network-namespace hosts on one machine, with a witness that no host can fool.

Standard library only, so that it runs with the system's Python before anything is installed. Start reading at `bed.py`.
"""
