# 18: a planned move is judged, force names what it breaks, and neither makes an alert for a failover.
at 9m  kill green
at 10m human switches from blue to green
at 11m expect answer held:target_able
at 11m expect holder blue
at 12m human switches from blue to green force overriding target_able by eve because green starts in a minute
at 13m expect answer decided
at 13m expect history [overridden] overrode target_able
at 13m expect history (generation 2): green starts in a minute (eve)
at 14m expect holder green
