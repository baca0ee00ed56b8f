# 33: a drill: a planned move to the standby and home, seen done both times, with its outcome and its duration in the
# metrics. One that is not seen done latches, which an alert sees.
set move_deadline = "5m"
at 10m human switches from blue to green by eve because of the drill of January
at 15m expect holder green
at 15m expect dns green
at 15m expect history [move_done] rnd: the switchover to green was seen done
at 15m expect metric switchyard_failover_duration_seconds_count{fleet="rnd",phase="total"} 1
at 20m human fails back from green by eve because of the drill of January
at 25m expect holder blue
at 25m expect dns blue
at 25m expect history [move_done] rnd: the switchover to blue was seen done
at 25m expect metric switchyard_fleet_latched{fleet="rnd"} 0
at 30m fault gitlab refused
at 31m human switches from blue to green by eve because of the drill of February
at 45m expect holder blue
at 45m expect metric switchyard_fleet_latched{fleet="rnd"} 1
at 45m expect history [move_failed] rnd: the switchover to green failed
