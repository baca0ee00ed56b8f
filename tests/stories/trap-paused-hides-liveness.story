# A paused runner polls like any other and its status says nothing but paused: Prometheus shows the standby as well, and
# only its records tell that nobody there takes jobs.
at 5m  human pauses runner 3
at 5m  human pauses runner 4
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw 0 of 2 records in GitLab can take jobs
at 15m expect holder blue
at 16m human unpauses runner 3
at 20m expect holder green
