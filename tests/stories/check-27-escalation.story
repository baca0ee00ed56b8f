# 27: what a failed move leads to: it is seen as under way while it has time, then the fleet is latched, an alert can see
# it, nothing more is tried, and a person takes over.
set move_deadline = "5m"
at 9m  fault gitlab error
at 10m kill blue
at 15m expect metric switchyard_fleet_moving{fleet="rnd"} 1
at 15m expect metric switchyard_fleet_latched{fleet="rnd"} 0
at 20m expect metric switchyard_fleet_moving{fleet="rnd"} 0
at 20m expect metric switchyard_fleet_latched{fleet="rnd"} 1
at 20m expect history [move_failed] rnd: the failover to green failed: not seen done in time
at 20m expect outcome held:not_latched
at 21m mend gitlab
at 40m expect holder blue
at 40m expect moves 1
at 41m human acks by eve because GitLab takes writes again
at 42m human switches from green to green by eve because the move of 00:11 was not done
at 45m expect holder green
at 45m expect not latched
at 45m expect metric switchyard_fleet_latched{fleet="rnd"} 0
