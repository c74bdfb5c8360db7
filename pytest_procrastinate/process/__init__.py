"""The mechanism: fork, pipes, signals, waiting, deadlines, limits, reaping.

Unix only, and nothing of pytest: what a child is for, and how many of them
are right, is decided by the rooms below.
"""
