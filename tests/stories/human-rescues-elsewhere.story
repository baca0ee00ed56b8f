# Three clusters. Blue is dead, and its alert is silenced. A person gives the tag to red and takes it from blue. Then the
# alert comes through: the rescue is completed, name and all, and not sent to green, which is preferred.
fleet rnd on blue green red
at 5m human silences blue for 9m
at 10m kill blue
at 12m human retags runner 1
at 12m human retags runner 2
at 12m human retags runner 5
at 12m human retags runner 6
at 13m expect holder red
at 13m expect outcome drifted
at 30m expect holder red
at 30m expect dns red
at 30m expect outcome steady
