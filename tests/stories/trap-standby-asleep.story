# The standby looks up and sleeps after three refusals: it is not able. When it wakes, the fleet goes there.
at 5m sleep green for 20m
at 10m kill blue
at 20m expect holder blue
at 20m expect outcome held:target_able
at 35m expect holder green
