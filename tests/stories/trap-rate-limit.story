# GitLab answers 429 for a while, in the middle of a move: nothing is lost, and the move goes on.
at 10m kill blue
at 11m30s rate-limit for 3m
at 20m expect holder green
at 20m expect moves 1
at 20m expect not latched
