# A runner's record is deleted in the middle of a move.
at 10m kill blue
at 11m29s human deletes runner 4
at 15m expect holder green
