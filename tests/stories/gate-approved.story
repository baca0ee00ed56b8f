# A fleet that asks for a person's approval: the failover waits for it.
set approval = "required"
at 10m kill blue
at 15m expect outcome held:approved
at 15m expect moves 0
at 16m human approves
at 20m expect holder green
