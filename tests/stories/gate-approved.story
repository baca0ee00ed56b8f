# A fleet that asks for a person's approval: the failover waits for it.
set approval = "required"
at 10m kill blue
at 15m expect outcome held:approved
at 15m expect moves 0
at 16m human approves
at 20m expect holder green
# Nothing is left to answer, and that is written down.
at 21m human approves by eve because late
at 22m expect history could not approve
at 22m expect holder green
