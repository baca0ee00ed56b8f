# It jumps back in the middle of a move: the move goes on, and its deadline is not used up.
at 10m kill blue
at 11m31s clock jumps -1h
at 20m expect holder green
at 20m expect not latched
