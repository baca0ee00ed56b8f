# Velero goes on submitting backups, and each of them fails with a completion time of its own: only one that completed
# counts, and of an hourly schedule it is too old after three hours.
set loop.period = "1m"
set require.backups = true
at 5m   fault velero in green failing
at 2h50m expect gate target_able open
at 3h20m kill blue
at 3h25m expect outcome held:target_able
at 3h25m expect gate target_able closed saw Velero schedules without a backup young enough (0 wanted): 1.00
at 3h25m expect holder blue
