# GitLab cannot be read while a cluster dies: the failover waits, and comes when GitLab is back.
at 10m kill blue
at 11m20s rate-limit
at 13m expect outcome held:gitlab_reachable
at 13m expect moves 0
at 14m mend gitlab
at 25m expect holder green
