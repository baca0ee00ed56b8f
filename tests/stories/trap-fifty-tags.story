# GitLab takes at most 50 tags on a runner: the standby's second runner cannot get the routing tag. The failed side
# keeps it, and the move latches.
at 5m human fills tags of runner 4
at 10m kill blue
at 40m expect latched
at 40m expect holder blue and green
at 41m end
