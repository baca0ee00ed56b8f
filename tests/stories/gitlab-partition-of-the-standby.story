# The standby does not reach GitLab: it is up, and not able.
at 5m partition green from gitlab
at 10m kill blue
at 20m expect outcome held:gitlab_reachable
at 21m heal green
at 25m expect holder green
