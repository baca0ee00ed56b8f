# A secondary that cannot be asked is not waited for: it may have died with its cluster.
at 10m kill blue
at 10m fault dns ns2 down
at 15m expect holder green
