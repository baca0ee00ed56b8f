# GitLab has not heard from idle runners for an hour. That proves nothing, and the standby takes over all the same.
at 3h kill blue
at 3h10m expect holder green
