# 17: detection and recovery are two things: the blocked one names its gate, and ends when the reason does.
set limits.moves = 0
at 10m kill blue
at 20m expect outcome held:budget
at 20m expect gate confirmed open
at 20m expect metric switchyard_gate_open{fleet="rnd",gate="budget"} 0
at 20m expect history held by budget
at 21m revive blue
at 40m expect outcome steady
at 40m expect moves 0
