# A runner that is unpaused in bulk stays in its long poll and gets no job for up to an hour. Switchyard writes to each
# record by itself, which wakes it: when the fleet comes home, its runners work at once.
set park = "pause"
set failback = { after = "10m" }
at 10m kill blue
at 15m expect holder green
at 15m expect runner 1 takes no jobs
at 20m revive blue
at 43m expect holder blue
at 43m expect runner 1 takes jobs
at 43m expect runner 2 takes jobs
# What it would be like: a person does it in bulk.
at 50m human pauses runner 1
at 55m human unpauses runner 1 in bulk
at 60m expect runner 1 takes no jobs
at 2h  expect runner 1 takes jobs
