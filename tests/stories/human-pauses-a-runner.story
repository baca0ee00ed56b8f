# A person paused the standby's runners in GitLab: they cannot take jobs, so it is no target.
at 5m human pauses runner 3
at 5m human pauses runner 4
at 10m kill blue
at 20m expect holder blue
at 20m expect outcome held:target_able
at 21m human unpauses runner 4
at 25m expect holder green
