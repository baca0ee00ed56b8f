# A schedule that a person paused keeps its last good status for ever, and its backups age.
set loop.period = "1m"
set require.backup_max_age = "2h"
at 5m   fault velero in green suspended
at 2h50m kill blue
at 2h55m expect outcome held:target_able
at 2h55m expect holder blue
