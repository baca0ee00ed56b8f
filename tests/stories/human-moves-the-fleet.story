# While Switchyard is down a person moves the fleet to green in GitLab. It is not fought. Then green dies: the cluster that
# carries the tag has died, and blue is able. The name was never moved.
at 10m stop
at 11m human retags runner 1
at 11m human retags runner 2
at 11m human retags runner 3
at 11m human retags runner 4
at 15m start
at 20m expect holder green
at 20m expect decided blue
at 20m expect outcome drifted
at 30m kill green
at 35m expect holder blue
at 35m expect dns blue
at 35m expect moves 1
