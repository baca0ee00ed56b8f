# Blue is dead, the failover is paused, and a person gives the tag to green: not fought.
at 5m human pauses
at 10m kill blue
at 12m human retags runner 3
at 30m expect holder blue and green
at 30m expect moves 0
