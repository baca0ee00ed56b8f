# 22: the standby must be fresh: a fleet that asks for backups does not go where the newest one is too old, however well
# the runners poll. When Velero works again and a backup has completed, it goes.
set loop.period = "1m"
set require.backup_max_age = "2h"
at 5m   fault velero in green dead
at 2h50m kill blue
at 2h55m expect outcome held:target_able
at 2h55m expect gate target_able closed saw age of its oldest backup in seconds (at most 7200 wanted): 104
at 2h55m expect moves 0
at 2h55m expect holder blue
at 2h56m mend velero
at 3h4m expect moves 0
at 3h10m expect holder green
at 3h10m expect moves 1
