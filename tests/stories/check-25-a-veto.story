# 25: a rule of the team's own vetoes a target before anything is done, by taking away the proof in evidence.able. The
# gate that holds and the outcome are metrics, which any alert can follow.
at 9m  human vetoes green
at 10m kill blue
at 13m expect outcome held:target_able
at 13m expect gate target_able closed saw green polls well: inconclusive
at 13m expect moves 0
at 13m expect metric switchyard_gate_open{fleet="rnd",gate="target_able"} 0
at 14m human allows green
at 16m expect holder green
at 16m expect metric switchyard_steps_total{fleet="rnd",kind="add_tag",outcome="done"} 2
at 16m expect metric switchyard_failover_duration_seconds_count{fleet="rnd",phase="total"} 1
