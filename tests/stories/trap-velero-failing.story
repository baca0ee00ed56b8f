# Velero submits its backups in time, and each one fails, all of it or a part, with a completion time of its own: only one
# that completed counts, and of an hourly schedule it is too old after three hours.
set loop.period = "1m"
set require.backups = true
at 5m   fault velero in green failing
at 2h50m expect gate target_able open
at 3h20m kill blue
at 3h25m expect outcome held:target_able
at 3h25m expect gate target_able closed saw Velero schedules without a backup young enough (0 wanted): 1.00
at 3h25m expect holder blue
at 3h30m mend velero
at 3h59m expect holder blue
# One begins at the next full hour, and counts when it has completed.
at 4h4m expect holder blue
at 4h10m expect holder green
