# GitLab takes at most 50 tags on a runner: the standby's second runner cannot get the routing tag. The name follows, for
# half of the standby serves; the failed side keeps the tag, and the move latches.
at 5m human fills tags of runner 4
at 10m kill blue
at 12m expect dns green
at 12m expect moving
at 40m expect latched
at 40m expect holder blue and green
at 41m end
