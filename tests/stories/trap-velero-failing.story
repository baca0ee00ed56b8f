# Velero goes on submitting backups, and each of them fails with a completion time of its own: only one that completed
# counts.
set loop.period = "1m"
set require.backup_max_age = "2h"
at 5m   fault velero in green failing
at 2h50m kill blue
at 2h55m expect outcome held:target_able
at 2h55m expect gate target_able closed saw age of its oldest backup
at 2h55m expect holder blue
