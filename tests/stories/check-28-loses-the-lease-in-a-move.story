# 28: one that loses the lease in the middle of a move takes no further step; whoever leads next goes on from what it
# sees.
at 10m kill blue
at 11m31s lead elsewhere
at 20m expect steps 3
at 20m expect holder blue and green
at 20m expect history none of which was taken: remove tag rnd-runner from runner 1 of blue
at 21m lead again
at 23m expect holder green
at 23m expect dns green
at 23m expect moves 1
